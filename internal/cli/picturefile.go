package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"phi3/internal/regular"
)

// checkPicture tells, before the work for a picture begins, whether its file can be written. info is of what
// the picture replaces, nil if there is nothing.
func checkPicture(file string) (info os.FileInfo, err error) {
	info, err = os.Stat(file)
	folder := filepath.Dir(file)
	switch {
	case file == "-":
		err = errors.New("it cannot go to stdout; give the name of a file (./- is a file with the name -)")
	case err == nil && info.IsDir():
		err = fmt.Errorf("%s is a directory, not a file", file)
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", file)
	case regular.IsAbsent(err):
		var in os.FileInfo
		if in, err = os.Stat(folder); regular.IsAbsent(err) {
			err = fmt.Errorf("there is no directory %s", folder)
		} else if err == nil && !in.IsDir() {
			err = fmt.Errorf("%s is not a directory", folder)
		}
		info = nil
	case err != nil:
		err = fmt.Errorf("%s: %w", file, regular.Reason(err))
	}
	if err != nil {
		return nil, fmt.Errorf("write the picture: %w", err)
	}
	return info, nil
}

// writePicture puts a finished picture where the user wants it, whole or not at all. It replaces a regular
// file, as -o of other programs does, and follows a link to one; anything else it leaves alone.
func writePicture(file string, svg []byte) (err error) {
	info, err := checkPicture(file)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the picture: %w", regular.Reason(err))
		}
	}()
	if info != nil {
		if file, err = filepath.EvalSymlinks(file); err != nil {
			return err
		}
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
