package process

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// NoteSources looks at every source file of the server. go test remembers what a test has looked at and does not answer from
// its cache when one of them has changed; that the test imports the server is not enough, as the linker leaves out what is not
// called.
var NoteSources = sync.OnceFunc(func() {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return
	}
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // then the cache is not told of it
		case d.IsDir() && (d.Name() == "bench" || strings.HasPrefix(d.Name(), ".") && path != root):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"), d.Name() == "go.mod":
			_, _ = os.Stat(path)
		}
		return nil
	})
})
