// Package hub gets models from the Hugging Face hub and keeps them in the cache directory that Python's
// huggingface_hub keeps, laid out the same, so that what one program has downloaded the other finds:
//
//	<cache>/models--org--name/refs/main                      the commit that "main" was when last looked at, 40 hex digits
//	<cache>/models--org--name/snapshots/<commit>/config.json a relative link to ../../blobs/<hash>
//	<cache>/models--org--name/blobs/<hash>                   a file; its name is its SHA-256, or git's SHA-1 for small ones
//	<cache>/models--org--name/blobs/<hash>.incomplete        the beginning of one
//	<cache>/models--org--name/.no_exist/<commit>/<file>      an empty file: the repository has no such file
//	<cache>/.locks/models--org--name/<hash>.lock             locked with flock by whoever writes that blob
//
// [New] reads the environment variables that the Python library reads. [Hub.Find] looks into the cache and
// nowhere else. [Hub.Pull] asks the hub which files a revision has, downloads what phi3 needs of them and the
// cache lacks, and names the snapshot only when all of it is there and every hash is right. A start is
// pull.go; one file's way from the network to its link is download.go.
//
// Whatever comes over the network is untrusted: names are compared with a list or a pattern before they
// become paths, hashes must look like hashes, sizes are bounded, and a file that is not what its hash says
// does not get its name.
package hub
