// CUDA 13 changed some functions of cuda.h under their old names. This file changes them back to what
// gorgonia.org/cu calls. Every driver still has the old symbols. It is needed only for builds with
// NVIDIA's header: put this directory before NVIDIA's on the include path.
#pragma once

#include_next <cuda.h>

#if CUDA_VERSION >= 13000

#ifdef __cplusplus
extern "C" {
#endif

#undef cuCtxCreate
#define cuCtxCreate cuCtxCreate_v2
CUresult cuCtxCreate_v2(CUcontext *, unsigned int, CUdevice);
#undef cuMemAdvise
CUresult cuMemAdvise(CUdeviceptr, size_t, CUmem_advise, CUdevice);
#undef cuMemPrefetchAsync
CUresult cuMemPrefetchAsync(CUdeviceptr, size_t, CUdevice, CUstream);
#undef cuGraphAddDependencies
CUresult cuGraphAddDependencies(CUgraph, const CUgraphNode *, const CUgraphNode *, size_t);
#undef cuGraphGetEdges
CUresult cuGraphGetEdges(CUgraph, CUgraphNode *, CUgraphNode *, size_t *);

// These two are called as before, but by new symbols, which not every driver since 11.8 has.
#undef cuEventElapsedTime
CUresult cuEventElapsedTime(float *, CUevent, CUevent);
#undef cuDeviceGetUuid
CUresult cuDeviceGetUuid(CUuuid *, CUdevice);

#ifdef __cplusplus
}
#endif

#endif
