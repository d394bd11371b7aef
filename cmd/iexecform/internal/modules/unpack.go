package modules

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Limits of one archive.
const (
	maxFiles       = 10_000
	maxDirectories = 2 * maxFiles // that files are in, counted anew for each
	maxName        = 1024
	maxBytes       = 64 << 20
)

var errLarge = fmt.Errorf("the archive is larger than %d MB", maxBytes>>20)

// unpack writes the files of a tar archive under a directory. Links and other special files are left out; names that lead
// out of the directory are an error. SIDE EFFECTS: files in dir.
func unpack(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	limited := &io.LimitedReader{R: r, N: 2 * maxBytes} // headers and padding count
	archive := tar.NewReader(limited)
	left := int64(maxBytes)
	for files, directories := 0, 0; ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, limited) // its end shows whether the whole is what its digest says
			if err == nil && limited.N <= 0 {
				err = errLarge
			}
			return err
		}
		if limited.N <= 0 {
			return errLarge
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		name := filepath.Clean(filepath.FromSlash(h.Name))
		if !filepath.IsLocal(name) {
			return fmt.Errorf("the archive has a file %q, which leads out of it", h.Name)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if files++; files > maxFiles {
			return fmt.Errorf("the archive has more than %d files", maxFiles)
		}
		if directories += strings.Count(name, string(filepath.Separator)); len(name) > maxName || directories > maxDirectories {
			return fmt.Errorf("the names in the archive are too long, or its directories too deep: at most %d bytes, and %d directories", maxName, maxDirectories)
		}
		if left -= h.Size; left < 0 {
			return errLarge
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return fmt.Errorf("unpack the archive: %w", err)
		}
		_, err = io.Copy(f, archive) //nolint:gosec // the size was counted above, and the reader is limited
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("unpack the archive: %w", err)
		}
	}
}
