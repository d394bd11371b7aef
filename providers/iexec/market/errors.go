package market

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/iexecform/iexecform/providers/retry"
)

// Error is a failure of the market, or of the way to it.
type Error struct {
	Op     string // what was wanted
	Host   string
	Status int    // HTTP status; 0: it could not be reached
	Text   string // what the market said, or why it could not be reached

	notJSON bool
	unsent  bool          // it was another request that failed, before the one that was wanted
	cut     bool          // the answer ends too early
	after   time.Duration // that the market asks to wait; 0: it doesn't say
	cause   error
}

func (e *Error) Unwrap() error { return e.cause }

func (e *Error) Error() string {
	switch {
	case e.Status == 0:
		hint := "check market_url and the network connection"
		if isLoopback(e.Host) {
			hint = "check market_url, or start `iexecform localnet`"
		}
		return fmt.Sprintf("%s: cannot reach the market at %s: %s; %s", e.Op, e.Host, e.Text, hint)
	case e.notJSON:
		return fmt.Sprintf("%s: the market at %s answered %s, not JSON (HTTP status %d): is market_url right?", e.Op, e.Host, e.Text, e.Status)
	}
	text := fmt.Sprintf("%s: the market at %s answered %q (HTTP status %d)", e.Op, e.Host, e.Text, e.Status)
	if a := e.advice(); a != "" {
		text += "; " + a
	}
	return text
}

// The market has no error codes: status and text are all there is. Source: its observed behaviour.
const (
	textAuthorization = "invalid authorization"
	textPublished     = "order already published"
	textConsumed      = "order already consumed"
)

// advice says what to do about the answers that are known.
func (e *Error) advice() string {
	has := func(part string) bool { return strings.Contains(e.Text, part) }
	switch {
	case e.Text == textAuthorization:
		return "check that the wallet's key is that of its address (a contract account cannot publish), and that no other program is publishing with it"
	case e.Text == textPublished:
		return "an order with this hash is stored, open or not; a closed order needs a new salt"
	case e.Text == textConsumed:
		return "the order is used up or was closed on chain; sign a new one"
	case e.Text == "Resource not deployed":
		return "deploy it first, or wait until the market's node has seen it"
	case has("can publish an order"):
		return "use the wallet of the resource's owner"
	case e.Text == "invalid sign":
		return "the signature is not that of the resource's owner over this order; check the hub and the wallet"
	case has("published open"):
		return "unpublish orders that are no longer needed, or offer more volume in fewer orders"
	case has("can unpublish an order"):
		return "use the wallet that published it"
	case has("stake is too low"):
		return "deposit RLC into the account first"
	case has("is not supported"):
		return "the market is that of another chain; check market_url and the chain"
	case has("No ") && has(" published for "), has("actual best price"):
		return "nothing on the market matches this request order"
	case e.Status == http.StatusBadRequest:
		return "the order is beyond what the market stores"
	case e.Status == http.StatusForbidden && e.Text == "":
		return "access to the market is denied"
	case e.Status >= http.StatusInternalServerError:
		return "the market or its node has a problem; try again later"
	}
	return ""
}

func isText(err error, text string) bool {
	var e *Error
	return errors.As(err, &e) && e.Text == text
}

// transient tells that the same request may go well later.
func (e *Error) transient() bool {
	if e.Status == 0 {
		return e.cause != nil && retry.Network(e.cause)
	}
	return e.cut || retry.Status(e.Status)
}

// isUnclear tells that a write may have had its effect although it failed: the answer is lost, or none of the market's own.
func isUnclear(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.unsent {
		return false
	}
	if e.Status == 0 {
		return !isRefused(e.cause)
	}
	return e.cut || e.Status >= http.StatusInternalServerError || e.notJSON && e.Status == http.StatusOK
}

func isRefused(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns) && dns.IsNotFound
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
