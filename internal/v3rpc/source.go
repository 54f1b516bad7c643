package v3rpc

import (
	"context"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// AddressKey is the metadata key under which the JSON gateway tells the address of its own client, behind whatever that client has
// sent under the same name. Only calls through memory are believed.
const AddressKey = "cairn-client-address"

// memoryNetwork is the network of connections inside the process. No socket has this name.
const memoryNetwork = "bufconn"

// source is the address that a call comes from, and whether it comes through the gateway.
func source(ctx context.Context) (addr string, gateway bool) {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return "", false
	}
	if p.Addr.Network() != memoryNetwork {
		return p.Addr.String(), false
	}
	if v := metadata.ValueFromIncomingContext(ctx, AddressKey); len(v) > 0 {
		return v[len(v)-1], true
	}
	return "", true
}
