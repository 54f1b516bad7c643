package ctl

import (
	"fmt"
	"strconv"
	"strings"
)

func statusView(list []endpointStatus) view {
	rows := make([][]string, len(list))
	for i, s := range list {
		st := s.Status
		rows[i] = []string{
			s.Endpoint, fmt.Sprintf("%x", st.Header.GetMemberId()), st.Version, st.StorageVersion,
			size(st.DbSize), size(st.DbSizeInUse), notInUse(st.DbSize, st.DbSizeInUse), size(st.DbSizeQuota),
			strconv.FormatBool(st.Leader == st.Header.GetMemberId()), strconv.FormatBool(st.IsLearner),
			strconv.FormatUint(st.RaftTerm, 10), strconv.FormatUint(st.RaftIndex, 10),
			strconv.FormatUint(st.RaftAppliedIndex, 10), strings.Join(st.Errors, ", "),
			st.DowngradeInfo.GetTargetVersion(), strconv.FormatBool(st.DowngradeInfo.GetEnabled()),
		}
	}
	return view{
		simple: func(t *text) { t.columns(rows) },
		json:   list,
		table: func() ([]string, [][]string) {
			return []string{
				"endpoint", "ID", "version", "storage version", "db size", "in use", "percentage not in use",
				"quota", "is leader", "is learner", "raft term", "raft index", "raft applied index", "errors",
				"downgrade target version", "downgrade enabled",
			}, rows
		},
		fields: func(t *text) {
			for _, s := range list {
				st := s.Status
				t.header(st.Header)
				t.quoted("Version", st.Version)
				t.quoted("StorageVersion", st.StorageVersion)
				t.field("DBSize", st.DbSize)
				t.field("DBSizeInUse", st.DbSizeInUse)
				t.field("DBSizeQuota", st.DbSizeQuota)
				t.field("Leader", st.Leader)
				t.field("IsLearner", st.IsLearner)
				t.field("RaftIndex", st.RaftIndex)
				t.field("RaftTerm", st.RaftTerm)
				t.field("RaftAppliedIndex", st.RaftAppliedIndex)
				t.field("Errors", st.Errors)
				t.quoted("Endpoint", s.Endpoint)
				t.quoted("DowngradeTargetVersion", st.DowngradeInfo.GetTargetVersion())
				t.field("DowngradeEnabled", st.DowngradeInfo.GetEnabled())
				t.line("")
			}
		},
	}
}

func hashView(list []endpointHash) view {
	rows := make([][]string, len(list))
	for i, h := range list {
		rows[i] = []string{
			h.Endpoint, strconv.FormatUint(uint64(h.HashKV.Hash), 10), strconv.FormatInt(h.HashKV.HashRevision, 10),
		}
	}
	return view{
		simple: func(t *text) { t.columns(rows) },
		json:   list,
		table:  func() ([]string, [][]string) { return []string{"endpoint", "hash", "hash revision"}, rows },
		fields: func(t *text) {
			for _, h := range list {
				t.header(h.HashKV.Header)
				t.quoted("Endpoint", h.Endpoint)
				t.field("Hash", h.HashKV.Hash)
				t.field("HashRevision", h.HashKV.HashRevision)
				t.line("")
			}
		},
	}
}

// size writes bytes in steps of 1000, with one decimal below ten units.
func size(bytes int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	if bytes < 10 {
		return fmt.Sprintf("%d B", max(bytes, 0))
	}
	v, i := float64(bytes), 0
	for v >= 1000 && i < len(units)-1 {
		v /= 1000
		i++
	}
	v = float64(int64(v*10+0.5)) / 10 // to a tenth first, then to a unit
	if v < 10 && i > 0 {
		return fmt.Sprintf("%.1f %s", v, units[i])
	}
	return fmt.Sprintf("%.0f %s", v, units[i])
}

// notInUse is the share of a database file that holds nothing.
func notInUse(total, inUse int64) string {
	if total <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%d%%", 100-inUse*100/total)
}
