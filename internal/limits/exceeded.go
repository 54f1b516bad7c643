package limits

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a request may exceed.
const (
	Writes = "writes"
	Reads  = "reads"
	Keys   = "keys"
	Bytes  = "bytes"
)

// Exceeded is the refusal of a request that goes beyond a rule. Clients get it as ResourceExhausted.
type Exceeded struct {
	Rule  *Rule
	What  string // Writes, Reads, Keys or Bytes
	Would int64  // of a quota: what there would be
}

func (e *Exceeded) Error() string {
	r := e.Rule
	switch e.What {
	case Writes:
		return fmt.Sprintf("cairn: rate of %v is %d writes per second with a burst of %d, and is exceeded", &r.Target, r.WritesPerSecond, r.WriteBurst)
	case Reads:
		return fmt.Sprintf("cairn: rate of %v is %d reads per second with a burst of %d, and is exceeded", &r.Target, r.ReadsPerSecond, r.ReadBurst)
	case Keys:
		return fmt.Sprintf("cairn: quota of %v is %d keys, and there would be %d", &r.Target, r.MaxKeys, e.Would)
	default:
		return fmt.Sprintf("cairn: quota of %v is %d bytes, and there would be %d", &r.Target, r.MaxBytes, e.Would)
	}
}

// GRPCStatus lets gRPC send the error as it is.
func (e *Exceeded) GRPCStatus() *status.Status { return status.New(codes.ResourceExhausted, e.Error()) }
