package host

import (
	"context"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// agreeOnMirror has the v2 keys mirrored as this member is configured, if it is. refused is why that was not possible the last
// time: it is said once.
func (h *Host) agreeOnMirror(ctx context.Context, refused string) string {
	want := h.cfg.Mirror
	if want == nil || *want == h.View().Mirror {
		return ""
	}
	q := wire.V2Request{Method: wire.V2Put, Path: machine.MirrorRecord, Val: *want}
	res, err := h.Propose(ctx, wire.KindV2, q.Append(nil))
	if err == nil {
		err = res.Err
	}
	switch {
	case err == nil:
		h.cfg.Logger.Info("the keys of the v2 API are mirrored", "prefix", *want)
		return ""
	case err.Error() != refused:
		h.cfg.Logger.Warn("the keys of the v2 API are not mirrored as asked for", "prefix", *want, "error", err.Error())
	}
	return err.Error()
}
