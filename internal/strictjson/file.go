package strictjson

import (
	"io/fs"

	"phi3/internal/regular"
)

// ReadFile reads a file of a checkpoint. It refuses a file of more than limit bytes, and one that is only a
// placeholder; see [regular.Placeholder]. Errors of the file system can be compared ([fs.ErrNotExist]) but
// have no path: the caller adds the name.
func ReadFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	text, err := regular.ReadFS(fsys, name, limit)
	if err != nil {
		return nil, err
	}
	if err := regular.Placeholder(text); err != nil {
		return nil, err
	}
	return text, nil
}
