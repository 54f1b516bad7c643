package golden2

import "fmt"

const (
	everyExpiry = 2500 // requests between two phases
	everyCheck  = 500

	usersRequests = 40 // of one phase
)

// step sends one request, and whatever else is due.
func (r *run) step() error {
	before := r.index
	q := r.gen.any()
	a, err := r.ask(q)
	if err != nil {
		return err
	}
	if a.head.Get("Location") != "" {
		q.target = a.head.Get("Location")
		if _, err := r.ask(q); err != nil {
			return err
		}
	}
	if err := r.watches.step(); err != nil {
		return err
	}
	due := func(every, offset int) bool { return (before+offset)/every != (r.index+offset)/every }
	if due(everyCheck, 0) {
		if err := r.fewer(); err != nil {
			return err
		}
		if err := r.check(); err != nil {
			return err
		}
	}
	if due(everyExpiry, everyExpiry-1000) {
		if err := r.expiry(); err != nil {
			return fmt.Errorf("while nodes end: %w", err)
		}
	}
	if due(r.everyUsers, r.everyUsers/2) {
		if err := r.check(); err != nil {
			return err
		}
		if err := r.users(usersRequests); err != nil {
			return fmt.Errorf("with users: %w", err)
		}
		if err := r.watches.check(); err != nil {
			return err
		}
		return r.count.begin() // etcd counts what it does with users
	}
	return nil
}

// fewer removes some of what has come together.
func (r *run) fewer() error {
	for range 2 {
		q := &request{method: "DELETE", path: "/" + r.gen.one("a", "b", "c", "foo", "foobar", "_h", "saved")}
		q.target = "/v2/keys" + q.path + "?recursive=true"
		if _, err := r.ask(q); err != nil {
			return err
		}
	}
	return nil
}

// check compares everything that can be seen.
func (r *run) check() error {
	if err := r.watches.check(); err != nil {
		return err
	}
	if _, err := r.ask(&request{method: "GET", target: "/v2/keys/?recursive=true&sorted=true", path: "/"}); err != nil {
		return err
	}
	return r.count.check()
}

func (r *run) finish() error {
	if err := r.check(); err != nil {
		return err
	}
	r.watches.closeAll()
	return r.count.check()
}
