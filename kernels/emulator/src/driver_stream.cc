// Streams, events, capture and graphs.
#include "driver.h"
#include <algorithm>
#include <chrono>

namespace emulator {

namespace {

Handles<Event> events;
Handles<Graph> graphs, executables;
uint64_t streams_made;

Moment now(const Stream *s)
{
	return {s->id, s->done + s->work.size()};
}

bool reached(Context *c, Moment m)
{
	auto it = c->streams.find(m.stream);
	return it == c->streams.end() ||
	       it->second->done >= m.number; // a stream is finished before it is destroyed
}

// Does a stream's work up to a moment. After a failure the context keeps the error and drops the rest of
// the work.
int reach(Context *c, Moment m)
{
	while (!reached(c, m)) {
		Stream *s = c->streams[m.stream].get();
		Work w = std::move(s->work.front());
		s->work.pop_front();
		for (Moment before : w.after)
			reach(c, before);
		const auto ready = [c](const Work &w) {
			return std::all_of(w.after.begin(), w.after.end(), [c](Moment m) { return reached(c, m); });
		};
		if (!c->sticky)
			c->sticky = w.kernel ? run_kernel(w, s->work, ready) : w.task();
		s->done++;
	}
	return c->sticky;
}

double clock_milliseconds()
{
	return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch())
	    .count();
}

int enqueue(Stream *s, Work w)
{
	if (s->capture) {
		if (s->capture_broken)
			return error(CAPTURE_INVALIDATED, "");
		s->capture->works.push_back(std::move(w));
		return OK;
	}
	if (s->id == 0) {
		for (auto &[id, other] : s->context->streams) {
			if (other->blocking && other->capture)
				return other->capture_broken = true, error(CAPTURE_IMPLICIT, "work on the default stream");
			if (other->blocking && other.get() != s)
				w.after.push_back(now(other.get()));
		}
	} else if (s->blocking)
		w.after.push_back(now(s->context->streams[0].get()));
	s->work.push_back(std::move(w));
	return OK;
}

// Waiting for a stream that is being captured would never end, so it is an error.
int refuse_capture(Stream *s, const char *what)
{
	s->capture_broken = true;
	return error(CAPTURE_UNSUPPORTED, std::string(what) + " of a stream that is being captured");
}

} // namespace

Stream *find_stream(Context *c, void *handle)
{
	for (auto &[id, s] : c->streams)
		if (s.get() == handle)
			return s.get();
	return handle ? nullptr : c->streams[0].get();
}

bool capturing(const Context *c)
{
	for (auto &[id, s] : c->streams)
		if (s->capture)
			return true;
	return false;
}

int enqueue(Stream *s, Task task)
{
	return enqueue(s, Work{std::move(task), {}, false, {}, {}});
}

int enqueue(Stream *s, KernelLaunch kernel)
{
	if (s->capture && kernel.launch.dependent && settings().refuse_overlap)
		return refuse_capture(s, "a dependent launch, with refuse-overlap=1,");
	const std::deque<Work> &before = s->capture ? s->capture->works : s->work;
	const bool overlaps = kernel.launch.dependent && !before.empty() && before.back().kernel;
	return enqueue(s, Work{{}, std::make_shared<KernelLaunch>(std::move(kernel)), overlaps, {}, {}});
}

int finish(Stream *s)
{
	return s->capture ? refuse_capture(s, "synchronisation") : reach(s->context, now(s));
}

int finish_all(Context *c)
{
	for (auto &[id, s] : c->streams)
		reach(c, now(s.get()));
	return c->sticky;
}

} // namespace emulator

using namespace emulator;

API cuStreamCreate(void **handle, unsigned flags)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	if (flags > 1)
		return error(INVALID_VALUE, "cuStreamCreate: flags");
	auto s = std::make_unique<Stream>();
	s->context = c, s->id = ++streams_made, s->blocking = flags == 0;
	*handle = s.get();
	c->streams[s->id] = std::move(s);
	return OK;
}

// Defines the calling thread's context c and its stream s with that handle, or returns an error.
#define WITH_STREAM(handle)                                      \
	LOCK;                                                        \
	int status;                                                  \
	Context *c = current(&status);                               \
	if (!c)                                                      \
		return status;                                           \
	Stream *s = find_stream(c, handle);                          \
	if (!s)                                                      \
		return error(INVALID_HANDLE, std::string(__func__) + ": no such stream")

API cuStreamDestroy_v2(void *handle)
{
	WITH_STREAM(handle);
	if (s->id == 0)
		return error(INVALID_HANDLE, "cuStreamDestroy: the default stream");
	s->capture.reset();
	status = finish(s);
	c->streams.erase(s->id);
	return status;
}

API cuStreamSynchronize(void *handle)
{
	WITH_STREAM(handle);
	log("sync-stream");
	return finish(s);
}

// Each query does one piece of the work, as if time passed on a GPU.
API cuStreamQuery(void *handle)
{
	WITH_STREAM(handle);
	if (s->capture)
		return refuse_capture(s, "query");
	log("query-stream");
	if (s->work.empty())
		return OK;
	status = reach(c, {s->id, s->done + 1});
	return status ? status : NOT_READY;
}

API cuStreamWaitEvent(void *handle, void *event, unsigned)
{
	WITH_STREAM(handle);
	Event *e = events.find(event);
	if (!e)
		return error(INVALID_HANDLE, "cuStreamWaitEvent: no such event");
	if (s->capture)
		return refuse_capture(s, "cuStreamWaitEvent");
	log("wait-event");
	if (!e->recorded)
		return OK;
	status = enqueue(s, [] { return OK; });
	if (!status)
		s->work.back().after.push_back(e->moment);
	return status;
}

API cuStreamBeginCapture_v2(void *handle, int)
{
	WITH_STREAM(handle);
	if (s->id == 0 || s->capture)
		return error(CAPTURE_UNSUPPORTED,
		             s->capture ? "a stream that is being captured already" : "the default stream");
	s->capture = std::make_unique<Graph>();
	s->capture_broken = false;
	return OK;
}

API cuStreamEndCapture(void *handle, void **graph)
{
	WITH_STREAM(handle);
	if (!s->capture)
		return error(CAPTURE_UNMATCHED, "");
	std::unique_ptr<Graph> g = std::move(s->capture);
	*graph = nullptr;
	if (s->capture_broken)
		return error(CAPTURE_INVALIDATED, "");
	*graph = graphs.add(std::move(g));
	return OK;
}

API cuStreamIsCapturing(void *handle, int *is)
{
	WITH_STREAM(handle);
	*is = !s->capture ? 0 : s->capture_broken ? 2 : 1;
	return OK;
}

API cuEventCreate(void **handle, unsigned flags)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	auto e = std::make_unique<Event>();
	e->context = c, e->timed = !(flags & 2);
	*handle = events.add(std::move(e));
	return OK;
}

API cuEventDestroy_v2(void *handle)
{
	LOCK;
	return events.remove(handle) ? OK : error(INVALID_HANDLE, "cuEventDestroy: no such event");
}

API cuEventRecord(void *handle, void *stream)
{
	WITH_STREAM(stream);
	Event *e = events.find(handle);
	if (!e)
		return error(INVALID_HANDLE, "cuEventRecord: no such event");
	if (s->capture)
		return refuse_capture(s, "cuEventRecord");
	log("record");
	status = enqueue(s, [handle] {
		if (Event *e = events.find(handle))
			e->milliseconds = clock_milliseconds();
		return OK;
	});
	e->recorded = true, e->moment = now(s);
	return status;
}

API cuEventSynchronize(void *handle)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	Event *e = events.find(handle);
	if (!e)
		return error(INVALID_HANDLE, "cuEventSynchronize: no such event");
	log("sync-event");
	return e->recorded ? reach(c, e->moment) : OK;
}

API cuEventQuery(void *handle)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	Event *e = events.find(handle);
	if (!e)
		return error(INVALID_HANDLE, "cuEventQuery: no such event");
	log("query-event");
	if (!e->recorded || reached(c, e->moment))
		return OK;
	status = reach(c, {e->moment.stream, c->streams[e->moment.stream]->done + 1});
	return status ? status : NOT_READY;
}

API cuEventElapsedTime(float *milliseconds, void *from, void *to)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	Event *a = events.find(from), *b = events.find(to);
	if (!a || !b || !a->timed || !b->timed || !a->recorded || !b->recorded)
		return error(INVALID_HANDLE,
		             "cuEventElapsedTime: the events must exist, be timed and have been recorded");
	if (!reached(c, a->moment) || !reached(c, b->moment))
		return NOT_READY;
	*milliseconds = (float)(b->milliseconds - a->milliseconds);
	return OK;
}

API cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long)
{
	LOCK;
	Graph *g = graphs.find(graph);
	if (!g)
		return error(INVALID_VALUE, "cuGraphInstantiate: no such graph");
	*executable = executables.add(std::make_unique<Graph>(*g));
	return OK;
}

API cuGraphLaunch(void *executable, void *stream)
{
	WITH_STREAM(stream);
	Graph *g = executables.find(executable);
	if (!g)
		return error(INVALID_VALUE, "cuGraphLaunch: no such executable graph");
	log("graph %zu", g->works.size());
	for (const Work &work : g->works)
		if ((status = enqueue(s, work)))
			return status;
	return OK;
}

API cuGraphDestroy(void *graph)
{
	LOCK;
	return graphs.remove(graph) ? OK : error(INVALID_VALUE, "cuGraphDestroy: no such graph");
}

API cuGraphExecDestroy(void *executable)
{
	LOCK;
	return executables.remove(executable)
			   ? OK
			   : error(INVALID_VALUE, "cuGraphExecDestroy: no such executable graph");
}
