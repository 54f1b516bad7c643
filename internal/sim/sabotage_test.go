package sim

import (
	"errors"
	"testing"
	"time"
)

// sabotages are the ways in which the code is broken on purpose. Each has to be found within so many seeds, by the
// checks named; tune makes what it takes more likely.
var sabotages = []struct {
	name  string
	bad   Sabotage
	tune  func(*plan)
	seeds uint64
}{
	{"jobs are reported before they are durable", Sabotage{AckBeforeSync: true, Blind: true}, nil, 200},
	{"followers report jobs before they are durable", Sabotage{FollowerAckBeforeSync: true, Blind: true}, answering, 200},
	{"syncs do nothing", Sabotage{SkipSync: true, Blind: true}, nil, 200},
	{"the log is released too early", Sabotage{ForgetHistory: true}, nil, 200},
	{"the applied index is stored before its entry", Sabotage{IndexBeforeEntry: true}, nil, 200},
	{"votes are not saved", Sabotage{VoteNotSaved: true, Blind: true}, voting, 200},
	{"terms are not saved", Sabotage{TermNotSaved: true, Blind: true}, three, 200},
	{"entries that replace others are not written", Sabotage{KeepConflicts: true, Blind: true}, diverging, 200},
	{"reads show an old state", Sabotage{StaleReads: true}, nil, 200},
	{"leaders answer reads without a quorum", Sabotage{LocalReads: true}, three, 200},
	{"the only voter forgets that learners answer too", Sabotage{SoleReads: true}, learning, 200},
	{"IDs of reads are used again", Sabotage{ReuseReadIDs: true}, hectic, 200},
	{"commands are proposed twice", Sabotage{ProposeTwice: true}, nil, 200},
	{"membership changes are applied twice", Sabotage{ConfTwice: true}, changing, 200},
	{"membership changes are not applied on one member", Sabotage{ConfMissed: true}, changing, 200},
	{"two membership changes at once", Sabotage{ConfDelayed: true}, changing, 200},
	{"a snapshot is installed without a mark", Sabotage{NoMark: true}, lagging, 200},
	{"the mark comes before the database is durable", Sabotage{MarkBeforeDurable: true}, rarelyFlushed, 200},
	{"a snapshot that comes again takes the state back", Sabotage{RollBack: true}, lagging, 200},
	{"watchers are not told of a snapshot", Sabotage{NoJump: true}, lagging, 200},
	{"events are not published", Sabotage{DropWatchEvents: true}, nil, 200},
	{"watches are resumed too late", Sabotage{ResumeLate: true}, nil, 200},
	{"events of the tree are not published", Sabotage{DropTreeEvents: true}, nil, 200},
	{"those who wait for paths are not told of a snapshot", Sabotage{NoReset: true}, lagging, 200},
	{"what is over in the tree does not end", Sabotage{NoTreeSync: true}, nil, 200},
	{"leases are revoked twice", Sabotage{RevokeTwice: true}, nil, 200},
	{"a leader of the past ends leases", Sabotage{ForwardRevokes: true}, moving, 200},
	{"leases are renewed without the log", Sabotage{LocalRenewals: true}, three, 200},
	{"deadlines begin anew with each leader", Sabotage{ResetDeadlines: true}, three, 200},
	{"leaders go on without a disk", Sabotage{StalledLeaders: true}, three, 200},
}

// three begins with three members.
func three(p *plan) { p.voters = 3 }

// learning is one voter, to which learners come.
func learning(p *plan) { p.voters, p.membership, p.slowApply = 1, true, 5 }

// changing makes members come and go.
func changing(p *plan) { p.voters, p.membership = 3, true }

// voting makes members vote, and forget about it if they can.
func voting(p *plan) {
	p.voters, p.pace, p.membership = 5, 150*time.Millisecond, false
	p.faults = []fault{faultNamed("crash after an answer"), faultNamed("crash after an answer"), faultNamed("crash of the leader"),
		faultNamed("transfer"), faultNamed("false report"), faultNamed("pair")}
}

// answering takes the power away just when something was answered.
func answering(p *plan) {
	p.voters, p.pace, p.membership = 3, 300*time.Millisecond, false
	p.faults = []fault{faultNamed("crash after an answer"), faultNamed("crash after an answer"), faultNamed("power loss"), faultNamed("stall")}
}

// hectic makes members come back while answers to their earlier lives are under way.
func hectic(p *plan) {
	p.voters, p.pace, p.membership = 3, 300*time.Millisecond, false
	p.clients, p.think, p.link.late, p.link.repeat, p.link.least, p.link.most = 10, 20*time.Millisecond, 40, 0, 10*time.Millisecond, 80*time.Millisecond
	p.faults = []fault{faultNamed("crash"), faultNamed("crash after an answer"), faultNamed("crash after an answer")}
}

// moving makes leadership change hands.
func moving(p *plan) {
	p.voters, p.pace, p.lessees = 3, 500*time.Millisecond, 12
	p.faults = []fault{faultNamed("transfer"), faultNamed("stall"), faultNamed("pause"), faultNamed("crash of the leader")}
}

// diverging makes logs go different ways.
func diverging(p *plan) {
	p.voters, p.pace, p.think, p.flushEvery, p.gather = 3, 500*time.Millisecond, 30*time.Millisecond, 10*time.Second, false
	p.faults = []fault{faultNamed("isolation"), faultNamed("one way"), faultNamed("split"), faultNamed("crash")}
}

// rarelyFlushed is lagging, with databases that are not durable for long.
func rarelyFlushed(p *plan) {
	lagging(p)
	p.flushEvery = 3 * time.Second
}

// lagging makes members miss so much that they need snapshots.
func lagging(p *plan) {
	p.voters, p.keepEntries, p.flushEvery, p.pace = 3, 3, 500*time.Millisecond, time.Second
	p.faults = []fault{faultNamed("crash"), faultNamed("crash"), faultNamed("isolation"), faultNamed("power loss"), faultNamed("crash at work")}
}

// TestSabotageIsNoticed breaks the members in known ways; the checks have to find each within a few seeds.
func TestSabotageIsNoticed(t *testing.T) {
	for _, x := range sabotages {
		t.Run(x.name, func(t *testing.T) {
			for seed := range x.seeds {
				_, err := play(t, Options{Seed: *flagSeed + seed, Sabotage: x.bad, tune: x.tune})
				var f *Failed
				if errors.As(err, &f) {
					t.Logf("seed %d, %s: %.250v", f.Seed, f.Checker, f.Err)
					return
				}
			}
			t.Fatal("no seed has noticed")
		})
	}
}
