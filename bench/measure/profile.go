package measure

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const profileSeconds = 8

var unfit = regexp.MustCompile(`[^a-z0-9]+`)

// profile asks the server for a profile of its processor time, from when the work is warm, and writes it to a file named
// after the work. It goes on for its time also when the work is done sooner.
func (s *subject) profile(ctx context.Context, dir, work string) error {
	time.Sleep(s.plan.Warm)
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.Addr, profileSeconds)
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("measure: profile: %s", r.Status)
	}
	name := strings.Trim(unfit.ReplaceAllString(strings.ToLower(work), "-"), "-")
	return os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s.pprof", s.Program.Kind, name)), b, 0o600)
}
