package picture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"phi3/internal/regular"
)

// CheckFile returns an error if [WriteFile] cannot write the file. A command calls it before a long
// computation.
func CheckFile(file string) error {
	_, err := replaced(file)
	return err
}

// replaced describes the file that the picture will replace. It returns nil if the file does not exist, and
// an error if a picture cannot be written there.
func replaced(file string) (info os.FileInfo, err error) {
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

// WriteFile writes a picture to a file. After an error the file is unchanged. WriteFile replaces only regular
// files; if file is a link, it replaces the link's target and keeps its permissions.
func WriteFile(file string, svg []byte) (err error) {
	info, err := replaced(file)
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
	defer func() { _ = os.Remove(temporary) }() // fails after the rename, when the temporary file is gone
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
