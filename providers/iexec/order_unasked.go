package iexec

import (
	"errors"
	"fmt"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/market"
)

// Plans can be made while the market is down: then the state's word is taken for what it shows, the chain still tells what was
// bought, and what an order's hash is needs nobody's answer. What is published is made sure of by apply, as always.

// errNotAsked is that of a listing that is not wanted.
var errNotAsked = errors.New("the market is not asked")

// WithoutMarket is the provider with plans that don't ask the market. It is what other providers are for others.
func WithoutMarket(p providers.Provider) providers.Provider {
	if ours, ok := p.(provider); ok {
		ours.noMarket = true
		return ours
	}
	return p
}

// adviseMarket says of an error of the market how to plan without it, and is nil for one that isn't asked.
func adviseMarket(err error) error {
	var failed *market.Error
	switch {
	case errors.Is(err, errNotAsked):
		return nil
	case errors.As(err, &failed):
		return fmt.Errorf("%w. To plan without the market, give --refresh=market=false: it takes the state's word for what the market shows", err)
	}
	return err
}
