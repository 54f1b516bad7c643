package cairn

import (
	"github.com/cairn-kv/cairn/internal/audit"
)

// AuditConfig says what is recorded of who did what.
type AuditConfig struct {
	File  string // "" for nothing
	Level string // admin, writes or all
	// MaxSize is how large the file may get, in MiB; MaxBackups is how many former ones are kept, MaxAge for how many days, 0 for
	// any number.
	MaxSize, MaxBackups, MaxAge int
	Compress                    bool // former files, with gzip
}

func (c *AuditConfig) log() audit.Config {
	return audit.Config{Path: c.File, Level: c.Level, MaxSize: c.MaxSize, MaxBackups: c.MaxBackups, MaxAge: c.MaxAge, Compress: c.Compress}
}

func (c *AuditConfig) validate() error {
	cfg := c.log()
	return cfg.Check()
}

func (s *Server) openAudit() error {
	if s.cfg.AuditLog.File == "" {
		return nil
	}
	cfg := s.cfg.AuditLog.log()
	cfg.Logger, cfg.Registry = s.log, s.registry
	log, err := audit.Open(cfg)
	if err != nil {
		return err
	}
	s.audit = log
	s.log.Info("recording who does what", "path", cfg.Path, "level", cfg.Level)
	return nil
}

// noteAudit tells in the audit log that this member starts or stops.
func (s *Server) noteAudit(what string) {
	if s.audit != nil {
		s.audit.Note(what, s.host.MemberID().String())
	}
}

func (s *Server) closeAudit() error {
	if s.audit == nil {
		return nil
	}
	return s.audit.Close()
}
