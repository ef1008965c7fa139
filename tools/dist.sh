#!/usr/bin/env bash
# dist.sh VERSION PHI3_CUDA: the steps of make dist. PHI3_CUDA is the program with the CUDA backend, for
# Linux on amd64. Writes an archive for each platform, and SHA256SUMS, into dist/. Then it unpacks each
# archive and runs the program in it.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1 cuda=$2
rm -rf dist && mkdir -p dist/folders
# Every file in an archive gets this time, so that two runs make the same bytes.
date=$(git log -1 --format=%cI 2>/dev/null || date -u +%FT%TZ)

# archive TARGET PROGRAM NAME: packs PROGRAM, under the name NAME, with LICENSE and README.md.
archive() {
	local folder=phi3-$version-$1
	mkdir "dist/folders/$folder"
	cp "$2" "dist/folders/$folder/$3"
	cp LICENSE README.md "dist/folders/$folder"
	find "dist/folders/$folder" -exec touch -d "$date" {} +
	case $1 in
	windows-*) (cd dist/folders && find "$folder" | LC_ALL=C sort | TZ=UTC zip -qX@ "../$folder.zip") ;;
	*) tar -C dist/folders --sort=name --owner=0 --group=0 --numeric-owner -c "$folder" |
		gzip -n >"dist/$folder.tar.gz" ;;
	esac
}

targets='linux-amd64 linux-arm64 darwin-arm64 windows-amd64'
for target in $targets; do
	name=phi3
	[ "$target" != windows-amd64 ] || name=phi3.exe
	CGO_ENABLED=0 GOOS=${target%-*} GOARCH=${target#*-} go build -trimpath \
		-ldflags "-s -w -X phi3/internal/cli.release=$version" -o "dist/folders/$name" ./cmd/phi3
	archive "$target" "dist/folders/$name" "$name"
done
archive linux-amd64-cuda "$cuda" phi3
(cd dist && sha256sum -- phi3-*.tar.gz phi3-*.zip >SHA256SUMS)
rm -rf dist/folders

# ---- Checks.
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
fail() { echo "dist: $*" >&2; exit 1; }
(cd dist && sha256sum --quiet -c SHA256SUMS)

# check TARGET PROGRAM [RUNNER]: PROGRAM is built for TARGET, shows its version, and answers. RUNNER is an
# emulator. check TARGET PROGRAM ? REASON: the same for a program that cannot run on this machine.
check() {
	local target=$1 program=$2 platform said
	shift 2
	platform=${target%-cuda}
	go version -m "$program" | grep -q "GOOS=${platform%-*}$" || fail "$target: not for ${platform%-*}"
	go version -m "$program" | grep -q "GOARCH=${platform#*-}$" || fail "$target: not for ${platform#*-}"
	case $target in
	*-cuda) go version -m "$program" | grep -q 'tags=cuda$' || fail "$target: built without CUDA" ;;
	*) go version -m "$program" | grep -q 'CGO_ENABLED=0$' || fail "$target: not static" ;;
	esac
	if [ "${1-}" = '?' ]; then
		echo "$target: not run: $2"
		return
	fi
	said=$("$@" "$program" --version | tr -d '\r')
	case $said in
	"phi3 $version ("*"${platform%-*}/${platform#*-})") ;;
	*) fail "$target: --version says $said" ;;
	esac
	said=$("$@" "$program" generate -q --device cpu --prompt 'The capital of Germany is' | tr -d '\r')
	[ "$said" = ' Berlin. It is a city in Europe.' ] || fail "$target: the answer is '$said'"
	echo "$target: run${1+ by $1}"
	case $target in
	*-cuda)
		glibc=$(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1)
		echo "$target: needs $glibc or newer"
		;;
	esac
}

for target in $targets linux-amd64-cuda; do
	folder=phi3-$version-$target
	case $target in
	windows-*) unzip -q "dist/$folder.zip" -d "$unpacked" ;;
	*) tar -C "$unpacked" -xzf "dist/$folder.tar.gz" ;;
	esac
	cmp LICENSE "$unpacked/$folder/LICENSE"
	host=$(go env GOHOSTOS)-$(go env GOHOSTARCH) program=$unpacked/$folder/phi3
	case $target in
	"$host" | "$host-cuda") check "$target" "$program" ;;
	linux-arm64) if command -v qemu-aarch64 >/dev/null; then check "$target" "$program" qemu-aarch64
		else check "$target" "$program" '?' 'qemu-aarch64 is missing'; fi ;;
	windows-amd64) if ! command -v wine >/dev/null; then check "$target" "$program.exe" '?' 'wine is missing'
		# Go's runtime needs this library. Wine before version 9 lacks it.
		elif [[ $(WINEDEBUG=-all wine "$program.exe" --version 2>&1) == *'bcryptprimitives.dll not found'* ]]
		then
			check "$target" "$program.exe" '?' 'this wine has no bcryptprimitives.dll'
		else WINEDEBUG=-all check "$target" "$program.exe" wine; fi ;;
	*) check "$target" "$program" '?' "this machine is $host" ;;
	esac
done
ls -l dist
