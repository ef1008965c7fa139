// Package hub downloads models from the Hugging Face hub into the cache directory of Python's
// huggingface_hub, in the same layout, so that each program finds what the other has downloaded:
//
//	<cache>/models--org--name/refs/main                      the commit that main meant at the last pull
//	<cache>/models--org--name/snapshots/<commit>/config.json a relative link to ../../blobs/<hash>
//	<cache>/models--org--name/blobs/<hash>                   a file; its name is its SHA-256 or git's SHA-1
//	<cache>/models--org--name/blobs/<hash>.incomplete        the beginning of one
//	<cache>/models--org--name/.no_exist/<commit>/<file>      an empty file: the repository has no such file
//	<cache>/.locks/models--org--name/<hash>.lock             flock'ed by the program that writes the blob
//
// [New] reads the environment variables that the Python library reads. [Hub.Find] looks only into the cache.
// [Hub.Pull] asks the hub which files a revision has and downloads those that phi3 needs and the cache lacks.
// It gives the revision its name only when all files are there and every hash is right. Start reading in
// pull.go. download.go downloads one file and makes its link.
//
// What comes over the network is untrusted: names are compared with a list or a pattern before they become
// paths, hashes must look like hashes, sizes are bounded, and a file gets its name only if its hash is right.
package hub
