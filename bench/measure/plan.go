package measure

import "time"

// Plan says how much of everything is done.
type Plan struct {
	Rounds int

	Warm, Run time.Duration // of closed loops of clients: unmeasured, measured
	Settle    time.Duration // for a server to end what it does behind its answers
	Slow      time.Duration // how long a row that reads one page at a time goes on

	Clients, Conns int // where many are asked for
	Space          int // keys that puts choose from
	Page           int // keys in the middle-sized range
	Keys           int // keys of the large store
	Batch          int // puts in a txn
	Touched        int // puts between two restarts

	Watchers, WatchConns, Events int // watchers of one key, and the changes of it
	OwnKeys, OwnEvents           int // watchers of a key each, and changes of all of them together
	Writers                      int // where many write for watchers

	V2Conns       []int // numbers of connections of v2 clients
	Polls, Polled int   // v2 clients that wait for changes of a directory, and the changes
}

// Full is the plan of published figures.
func Full() Plan {
	return Plan{
		Rounds: 3,
		Warm:   1500 * time.Millisecond, Run: 5 * time.Second, Settle: 3 * time.Second, Slow: 2 * time.Second,
		Clients: 1000, Conns: 100, Space: 100_000, Page: 10_000, Keys: 1_000_000, Batch: 100, Touched: 10_000,
		Watchers: 1000, WatchConns: 10, Events: 2000, OwnKeys: 10_000, OwnEvents: 100_000, Writers: 50,
		V2Conns: []int{1, 64, 256}, Polls: 1000, Polled: 1000,
	}
}

// Quick is the plan for a first look: the same work on a fifth of the keys, once.
func Quick() Plan {
	p := Full()
	p.Rounds = 1
	p.Warm, p.Run, p.Settle, p.Slow = 500*time.Millisecond, 2*time.Second, time.Second, time.Second
	p.Keys = 200_000
	p.Events, p.OwnEvents, p.Polled = 1000, 50_000, 200
	return p
}

// Tiny is the plan of the tests, in which figures mean nothing.
func Tiny() Plan {
	return Plan{
		Rounds: 1,
		Warm:   20 * time.Millisecond, Run: 100 * time.Millisecond, Settle: 50 * time.Millisecond, Slow: 20 * time.Millisecond,
		Clients: 20, Conns: 4, Space: 100, Page: 500, Keys: 2000, Batch: 100, Touched: 200,
		Watchers: 20, WatchConns: 4, Events: 50, OwnKeys: 40, OwnEvents: 400, Writers: 5,
		V2Conns: []int{1, 4}, Polls: 20, Polled: 20,
	}
}
