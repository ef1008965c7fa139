package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// writePicture puts a finished picture where the user wants it, whole or not at all. It replaces a regular file, as -o of other programs
// does, and follows a link to one; anything else it leaves alone.
func writePicture(file string, svg []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the picture: %w", err)
		}
	}()
	info, err := os.Stat(file)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a directory, not a file", file)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", file)
	case err == nil:
		if file, err = filepath.EvalSymlinks(file); err != nil {
			return err
		}
	case !os.IsNotExist(err):
		return err
	}
	temporary := filepath.Join(filepath.Dir(file), fmt.Sprintf(".phi3-%x.svg", time.Now().UnixNano()))
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary) }() // after the rename there is nothing of that name
	_, err = f.Write(svg)
	if err == nil && info != nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(temporary, file)
}
