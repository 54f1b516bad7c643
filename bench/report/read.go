package report

import (
	"encoding/json"
	"io"
)

// Read takes a report that WriteJSON wrote.
func Read(r io.Reader) (*Report, error) {
	var rep Report
	return &rep, json.NewDecoder(r).Decode(&rep)
}
