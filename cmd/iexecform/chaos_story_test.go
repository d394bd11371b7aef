package main

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// A story is lines of text, one step each, so that a story that was found by chance can be kept and told again. A step that
// makes no sense where it stands does nothing, so that any story can be told without any of its lines.
//
// What is wanted (a configuration always makes sense):
//
//	entry NAME CONTENT        an app (a, b), a dataset (d), or a workerpool (w), with fields of that number
//	order NAME PRICE VOLUME   an order (o, p of app a; q of b; r of d; s of w) with default settings
//	set NAME WHAT VALUE       price, volume, tag, restrict, revoke, on_destroy, below of an order; entry of it, of the same kind
//	drop NAME                 without its orders, if it is an entry, the configuration would make no sense: they go with it
//	rename NAME NAME          without a moved block; move NAME NAME: with one
//
// What is done about it (disturbances are below):
//
//	apply DISTURBANCES        plan and apply
//	destroy DISTURBANCES      destroy all that there is
//	save DISTURBANCES         save a plan
//	late DISTURBANCES         apply the plan that was saved
//	check                     apply undisturbed, and look whether all is as it must be
//	remote                    keep the state on a server: before the first of these
//
// What others do:
//
//	buy NAME N                buy N units of what an order resource offers
//	copy I N                  buy N units of the I-th order that anybody has ever seen
//	unpublish NAME            take its order off the market
//	close NAME                close its order on chain
//	away NAME, back NAME      transfer an entry away, and back
//	tx                        another transaction of the wallet
//	lose state, lose journal  delete the file, where it is one
//
// Disturbances are "SERVICE:REQUESTS:SKIP:TIMES:WHAT", "store:N:before", "store:N:after" and "store:N:torn" (die at the N-th
// write), "par:N" (--parallelism), "proc" (a process of its own, which is killed for real) and "twin:FLAG" (somebody else applies
// at the same time, with that flag). WHAT is in the function fault.
type story struct {
	*world
	t     *judge
	count *counts
	model model

	mu      sync.Mutex // guards what follows, and the model, while a run makes requests
	outside bool       // others did something during the run
}

// A want is a resource of the configuration.
type want struct {
	entry                            string // of an order: the name of its entry
	content                          int    // of an entry
	price, volume, below             int
	tag, restrict, revoke, onDestroy string
}

// kinds of the names of stories, by their first letter.
func kindOf(name string) (entry *poco.EntryKind, order *poco.Kind) {
	switch name[0] {
	case 'a', 'b':
		return poco.AppEntry, nil
	case 'd':
		return poco.DatasetEntry, nil
	case 'w':
		return poco.WorkerpoolEntry, nil
	case 'o', 'p', 'q':
		return poco.AppEntry, poco.AppOrder
	case 'r':
		return poco.DatasetEntry, poco.DatasetOrder
	default:
		return poco.WorkerpoolEntry, poco.WorkerpoolOrder
	}
}

func resourceOf(name string) string {
	entry, order := kindOf(name)
	if order != nil {
		return "iexec_" + order.Noun + "." + name
	}
	return "iexec_" + entry.Noun + "." + name
}

// tell tells a story, and returns what was wrong, or "".
func (g *ground) tell(t *judge, count *counts, lines []string) {
	w := g.world(t)
	s := &story{world: w, t: t, count: count}
	s.model.begin(s)
	at := ""
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.verdict != "" {
			t.verdict = fmt.Sprintf("at %s: %s", at, t.verdict)
		}
	}()
	for n, line := range append(slices.Clone(lines), "check") {
		at = fmt.Sprintf("step %d, %s", n+1, line)
		s.step(strings.Fields(line))
		if t.Failed() {
			return
		}
	}
	count.add(&count.stories)
}

func (s *story) step(words []string) {
	verb, rest := words[0], append(words[1:], "", "", "") // so that indexes are there
	switch args := words[1:]; verb {
	case "entry", "order", "set", "drop", "rename", "move":
		s.model.edit(verb, rest)
	case "apply":
		s.run(args, "apply", "--auto-approve")
	case "destroy":
		s.model.leave(slices.ContainsFunc(args, isTwin))
		s.run(args, "destroy", "--auto-approve")
	case "save":
		before := s.model.edition()
		if r := s.run(args, "plan", "--out=planned"); r.code == 0 && !r.killed {
			s.model.saved = s.model.edition()
			if *before != *s.model.saved { // a twin has applied: before the plan was made, or after
				s.model.saved = nil
			}
		}
	case "late":
		s.late(args)
	case "check":
		s.check()
	case "lose":
		s.model.lose(args[0])
	case "remote":
		s.model.remote()
	default:
		s.guarded(func() { s.others(verb, rest) })
	}
}

// guarded runs what others do; a request may cause it, while a run is under way.
func (s *story) guarded(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.guard(f)
}

// A run is what became of one.
type outcome struct {
	code   int
	text   string
	killed bool
}

// run runs the program among disturbances, and learns what there is afterwards.
func (s *story) run(disturbances []string, args ...string) outcome {
	r := s.disturbed(disturbances, args)
	if !r.killed && r.code != 0 && r.code != 1 {
		s.t.Errorf("iexecform %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.text)
	}
	s.calm()
	s.model.raced = s.model.raced || s.outside
	s.model.learn(r.text)
	if s.t.Failed() {
		s.t.Errorf("%s", r.text)
	}
	return r
}

// patience is how long a run may take: a transaction that doesn't get on is nudged after 15 s.
const patience = 2 * time.Minute

// watch fails the story and kills a run that doesn't end before the returned function is called.
func (s *story) watch(args []string, kill func()) (stop func()) {
	timer := time.AfterFunc(patience, func() {
		s.t.Errorf("iexecform %s: it doesn't end", strings.Join(args, " "))
		kill()
	})
	return func() { timer.Stop() }
}

// disturbed is run without what comes after it.
func (s *story) disturbed(disturbances, args []string) (r outcome) {
	for _, p := range s.proxies() {
		p.Reset()
	}
	l := s.lives()
	process := slices.Contains(disturbances, "proc") && s.env == nil // else it would leave the lock of a server behind
	kill, stop := l.kill, l.signal
	if process {
		kill, stop = s.kill, s.interrupt
	}
	var env, twins []string
	rules := map[*faultproxy.Proxy][]faultproxy.Rule{}
	s.outside = false
	for _, d := range disturbances {
		part := append(strings.Split(d, ":"), "", "", "", "")
		n := func(i int) int { n, _ := strconv.Atoi(part[i]); return n }
		switch part[0] {
		case "proc":
		case "twin":
			twins = append(twins, part[1])
		case "par":
			args = append(args, "--parallelism="+part[1])
		case "patience":
			args = append(args, "--stop-timeout="+part[1])
		case "store":
			l.fatal, l.when = n(1), part[2]
			when := "before"
			if part[2] != when {
				when = "after"
			}
			env = append(env, "DIE_AT="+part[1], "DIE_WHEN="+when)
		default:
			proxy := map[string]*faultproxy.Proxy{"rpc": s.rpc, "market": s.market, "registry": s.registry}[part[0]]
			match := part[1]
			switch {
			case match == "any":
				match = ""
			case part[0] != "rpc":
				match += " /"
			}
			rules[proxy] = append(rules[proxy], faultproxy.Rule{Match: match, Skip: n(2), Times: n(3), Fault: s.counted(part[4], kill, stop)})
		}
	}
	if l.when == "torn" && slices.Contains(twins, "--lock=false") {
		l.when = "after" // what it would cut off may be the twin's
	}
	for p, list := range rules {
		p.Set(list...)
	}
	s.count.add(&s.count.runs)
	defer s.watch(args, kill)()
	for _, flag := range twins {
		defer func(said func() string) { r.text += said() }(s.twin(flag))
	}
	if !process {
		if mortal := l.fatal > 0 || slices.ContainsFunc(disturbances, func(d string) bool { return strings.Contains(d, "kill") }); mortal && args[0] != "plan" {
			args = append(args, "--stop-timeout=1ms") // a dead one doesn't linger
		}
		code, text, killed := l.live(args...)
		if killed {
			s.count.add(&s.count.ended)
			s.calm() // for its twin, which lives
		}
		return outcome{code: code, text: text, killed: killed}
	}
	ended := s.begin(env, args...).wait()
	if ended.killed {
		s.count.add(&s.count.killed)
	}
	// A signal ends a process that isn't listening yet, or is done: such an interrupt is a kill.
	return outcome{code: ended.code, text: ended.text, killed: ended.killed || ended.code < 0}
}

func isTwin(disturbance string) bool { return strings.HasPrefix(disturbance, "twin") }

// twin begins to apply in another life, and returns what waits for its end and returns what it said.
func (s *story) twin(flag string) (said func() string) {
	s.count.add(&s.count.twins)
	l, args, done, text := s.lives(), []string{"apply", "--auto-approve"}, make(chan struct{}), ""
	if flag != "" {
		args = append(args, flag)
	}
	go func() {
		defer close(done)
		s.t.guard(func() {
			var code int
			if code, text, _ = l.live(args...); code != 0 && code != 1 {
				s.t.Errorf("the other iexecform %s: exit code %d\n%s", strings.Join(args, " "), code, text)
			}
		})
	}()
	return func() string {
		defer s.watch(args, l.kill)()
		<-done
		return text
	}
}

// counted is a fault that is counted when it happens.
func (s *story) counted(what string, kill, stop func()) faultproxy.Fault {
	fault := s.fault(what, kill, stop)
	return func(x *faultproxy.Exchange) {
		s.count.fault(what)
		fault(x)
	}
}

// fault is one by its name.
func (s *story) fault(what string, kill, stop func()) faultproxy.Fault {
	refusal := func(text string) string { return fmt.Sprintf(`"error":{"code":-32000,"message":%q}`, text) }
	answer := func(text string) faultproxy.Fault { // to each call of the request
		return faultproxy.Always("", refusal(text))
	}
	others := func(line string) faultproxy.Fault {
		return faultproxy.Before(func() {
			s.guarded(func() {
				s.outside = true
				s.others(strings.Fields(line)[0], append(strings.Fields(line)[1:], "", ""))
			})
		})
	}
	name, arg, _ := strings.Cut(what, "=")
	switch name {
	case "400", "429", "500", "503":
		code, _ := strconv.Atoi(what)
		return faultproxy.Status(code, 0)
	case "drop":
		return faultproxy.Drop(nil)
	case "cut":
		return faultproxy.Cut(nil)
	case "truncate":
		return faultproxy.Truncate()
	case "stale":
		return faultproxy.Stale()
	case "twice":
		return faultproxy.Twice()
	case "slow":
		return faultproxy.Delay(20 * time.Millisecond)
	case "kill": // before the request arrives
		return faultproxy.Drop(kill)
	case "killed": // after it
		return faultproxy.Cut(kill)
	case "stop":
		return faultproxy.Before(stop)
	case "stopped":
		return faultproxy.After(stop)
	case "full":
		return answer("txpool is full")
	case "underpriced":
		return answer("replacement transaction underpriced")
	case "known": // and it is true
		return func(x *faultproxy.Exchange) { x.Forward(); answer("already known")(x) }
	case "low": // as after a broadcast whose answer was lost
		return func(x *faultproxy.Exchange) { x.Forward(); answer("nonce too low")(x) }
	case "others":
		return others(strings.ReplaceAll(arg, "+", " "))
	}
	panic("no fault " + what)
}

// late applies the saved plan, if there is one. It must be refused, before anything is sent, where the state is another.
func (s *story) late(disturbances []string) {
	saved := s.model.saved
	if saved == nil {
		return
	}
	fresh := *saved == *s.model.edition()
	s.caughtUp() // else the market may take notice of a purchase in between
	before, rows := s.nonce(), s.open()
	r := s.run(disturbances, "apply", "planned")
	if fresh {
		return
	}
	if r.code == 0 && !r.killed {
		s.t.Errorf("a plan that was made for another state was applied:\n%s", r.text)
	}
	if s.outside || slices.ContainsFunc(disturbances, isTwin) {
		return
	}
	if n := s.nonce(); n != before || !maps.Equal(rows, s.open()) {
		s.t.Errorf("a plan that was made for another state sent something: nonce %d, then %d; orders %v, then %v\n%s", before, n, rows, s.open(), r.text)
	}
}

// others do something with the wallet, with an entry, or with an order.
func (s *story) others(verb string, args []string) {
	m := &s.model
	done := false
	switch verb {
	case "buy":
		n, _ := strconv.Atoi(args[1])
		for _, o := range m.onOffer(args[0]) {
			if done = s.buy(o, n); done {
				break
			}
		}
	case "copy":
		i, _ := strconv.Atoi(args[0])
		n, _ := strconv.Atoi(args[1])
		m.learnRows()
		if len(m.known) > 0 {
			done = s.buy(m.known[i%len(m.known)], n)
		}
	case "unpublish":
		if offered := m.onOffer(args[0]); offered != nil {
			if err := s.book.Unpublish(s.t.Context(), offered[0].kind, offered[0].hash, chain.NewKeySigner(s.account.Key)); err != nil {
				s.t.Fatal(err)
			}
			m.touch(args[0])
			done = true
		}
	case "close":
		if offered := m.onOffer(args[0]); offered != nil {
			data, err := poco.PackManageOrder(offered[0].kind, offered[0].Order, poco.OpClose, nil)
			if err != nil {
				s.t.Fatal(err)
			}
			if done = s.send(s.net.Info().Hub, data); done {
				offered[0].gone = true
				m.touch(args[0])
			}
		}
	case "away":
		if w := m.wants[args[0]]; w != nil && w.entry == "" && m.away[args[0]] == (common.Address{}) {
			address, there := m.address(args[0])
			kind, _ := kindOf(args[0])
			if there && s.send(m.registry(kind), poco.PackTransfer(s.account.Address, m.stranger.Address, address)) {
				m.away[args[0]], done = address, true
				m.touch(args[0])
			}
		}
	case "back":
		if address := m.away[args[0]]; address != (common.Address{}) {
			kind, _ := kindOf(args[0])
			s.count.paying.Lock()
			_, err := nettest.Send(s.t, s.net, m.stranger.Key, m.registry(kind), poco.PackTransfer(m.stranger.Address, s.account.Address, address))
			s.count.paying.Unlock()
			if err != nil {
				s.t.Fatalf("transfer %s back: %v", args[0], err)
			}
			delete(m.away, args[0])
			m.touch(args[0]) // the market shows an order no more that was dead
			done = true
		}
	case "tx":
		done = s.send(s.account.Address, nil)
	default:
		s.t.Fatalf("no step %q", verb)
	}
	if done {
		s.count.add(&s.count.outside)
	}
}

// send sends another transaction of the wallet. It reports whether it was successful: a run may be using the nonce.
func (s *story) send(to common.Address, data []byte) bool {
	receipt, err := nettest.Send(s.t, s.net, s.account.Key, to, data)
	if receipt != nil {
		s.model.foreign[receipt.TxHash] = true
	}
	return err == nil && receipt.Status == types.ReceiptStatusSuccessful
}

// stake gives the wallet the stake that it must have to offer tasks of a workerpool.
func (s *story) stake() {
	s.count.paying.Lock()
	defer s.count.paying.Unlock()
	buyer, amount, info := poco.DevAccounts()[nettest.Buyer], big.NewInt(1000), s.net.Info()
	pay := func(to common.Address, data []byte, err error) {
		if err == nil {
			_, err = nettest.Send(s.t, s.net, buyer.Key, to, data)
		}
		if err != nil {
			s.t.Fatal("give the wallet stake: ", err)
		}
	}
	approve, err := poco.TokenABI().Pack("approve", info.Hub, amount)
	pay(info.RLC, approve, err)
	deposit, err := poco.HubABI().Pack("depositFor", amount, s.account.Address)
	pay(info.Hub, deposit, err)
}

// buy buys units of an order, if that is possible.
func (s *story) buy(o *known, n int) bool {
	s.count.paying.Lock()
	defer s.count.paying.Unlock()
	if _, err := nettest.Fill(s.t, s.net, o.kind, o.SignedOrder, uint64(n)); err != nil {
		return false // it is sold out, closed, dead, or not for this buyer
	}
	o.sold += min(int64(n), volumeOf(o)-o.sold)
	s.model.touch(o.resource)
	return true
}
