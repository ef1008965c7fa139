package strictjson

import (
	"io/fs"

	"phi3/internal/regular"
)

// ReadFile reads a whole file of a checkpoint, of at most limit bytes, and recognises what people have in its
// place: see [regular.Placeholder]. Errors of the file system keep their identity ([fs.ErrNotExist]) but not
// their path: callers put the name in front.
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
