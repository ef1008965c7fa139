#!/usr/bin/env bash
# Checks the kit and packs it: pack.sh FOLDER ARCHIVE. The programs must start on machines with glibc
# 2.34, and the archive must be small enough to copy to them.
set -eu -o pipefail
export LC_ALL=C
folder=$1 archive=$2
newest_glibc=2.34 most_packed=30000000 most_unpacked=$((4 << 30))

for program in "$folder"/phi3 "$folder"/random-checkpoint "$folder"/*.test; do
	# A static program needs no glibc.
	symbols=$(objdump -T "$program" 2>&1) || [[ $symbols == *'not a dynamic object'* ]]
	needs=$(awk 'match($0, /GLIBC_[0-9.]+/) { print substr($0, RSTART + 6, RLENGTH - 6) }' <<<"$symbols" |
		sort -Vu | tail -n 1)
	if [ "$(printf '%s\n' "$needs" $newest_glibc | sort -V | tail -n 1)" != $newest_glibc ]; then
		echo "$program needs glibc $needs, the kit must run with $newest_glibc:" \
			"build it on an older system" >&2
		exit 1
	fi
done

unpacked=$(du -sb "$folder" | cut -f 1)
if [ "$unpacked" -gt $most_unpacked ]; then
	echo "$folder holds $unpacked bytes, and $most_unpacked are allowed" >&2
	exit 1
fi

# Three programs share most of their code and all kernels. The dictionary reaches from one to the next, so the
# archive holds these once: with gzip it would be more than twice as large.
trap 'rm -f "$archive.new"' EXIT
tar -C "$(dirname "$folder")" --owner=0 --group=0 --sort=name -cf - "$(basename "$folder")" |
	xz --lzma2=preset=1,dict=192MiB >"$archive.new"
packed=$(stat -c %s "$archive.new")
if [ "$packed" -gt $most_packed ]; then
	echo "$archive would have $packed bytes, and $most_packed are allowed" >&2
	exit 1
fi
mv "$archive.new" "$archive"
echo "$folder: $unpacked bytes; $archive: $packed bytes"
