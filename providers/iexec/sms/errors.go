package sms

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/retry"
)

// ExistsError means that the app has a secret already. Whether it is the wanted one nobody can tell.
type ExistsError struct{ App common.Address }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("app %s has a secret already, and a secret can be neither read nor changed: plan again to adopt it, or make another app for another secret", e.App)
}

// Error is a failure of the service, or of the way to it.
type Error struct {
	Op     string // what was wanted
	Host   string
	Status int // HTTP status; 0: it could not be reached

	after time.Duration // that the service asks to wait; 0: it doesn't say
	cause error
}

func (e *Error) Unwrap() error { return e.cause }

func (e *Error) Error() string {
	if e.Status == 0 {
		hint := "check sms_url and the network connection"
		if host, _, err := net.SplitHostPort(e.Host); err == nil && isLoopback(host) {
			hint = "check sms_url, or start `iexecform localnet`"
		}
		return fmt.Sprintf("%s: cannot reach the secret management service at %s: %s; %s", e.Op, e.Host, e.cause, hint)
	}
	return fmt.Sprintf("%s: the secret management service at %s answered with HTTP status %d: %s", e.Op, e.Host, e.Status, e.advice())
}

// advice says what an answer means. Source: AppComputeSecretController of iexec-sms.
func (e *Error) advice() string {
	switch {
	case e.Status == http.StatusUnauthorized:
		return "the signature is not that of the app's owner; use the wallet of the app's owner (a contract account cannot push secrets), and wait until the service's node has seen the app"
	case e.Status == http.StatusRequestEntityTooLarge:
		return fmt.Sprintf("the secret has more than %d bytes; shorten it", MaxSecret)
	case e.Status >= http.StatusInternalServerError:
		return "the service or its node has a problem; try again later"
	case e.Status == http.StatusTooManyRequests:
		return "there were too many requests; try again later"
	case e.Status >= http.StatusMultipleChoices && e.Status < http.StatusBadRequest:
		return "it wants to send the request elsewhere; set sms_url to the service's own URL"
	}
	return "this is not what a secret management service answers; check sms_url"
}

// transient tells that the same request may go well later.
func (e *Error) transient() bool {
	if e.Status == 0 {
		return retry.Network(e.cause)
	}
	return retry.Status(e.Status)
}
