package market_test

import (
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// answering is a client whose market answers by the index of the page, for the nth request.
func answering(t testing.TB, answers func(n, page int) string) *market.Client {
	t.Helper()
	n := 0
	p := &proxy{before: func(r *http.Request) *http.Response {
		var page int
		if _, err := fmt.Sscan(r.URL.Query().Get("pageIndex"), &page); err != nil {
			panic(err)
		}
		n++
		return answer(200, answers(n, page))
	}}
	c, err := market.New("http://market.example", poco.Localnet().Domain(), market.Options{HTTPClient: &http.Client{Transport: p}, RetryFor: -1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const dealText = `{"dealid":"0x%064x","app":{"pointer":"0x00000000000000000000000000000000000000aA","owner":"0x00000000000000000000000000000000000000bb","price":%s},` +
	`"dataset":{"pointer":"0x0000000000000000000000000000000000000000","price":0},"requester":"0x00000000000000000000000000000000000000cc",` +
	`"volume":%s,"blockNumber":%d,"blockTimestamp":"2026-01-02T03:04:05.000Z","unknown":{"a":[1]},"tag":null}`

func deals(count int, rows ...string) string {
	return fmt.Sprintf(`{"ok":true,"deals":[%s],"count":%d}`, strings.Join(rows, ","), count)
}

// Amounts are exact, whether the market writes numbers or strings; the newest deal comes first.
func TestDeals(t *testing.T) {
	c := answering(t, func(int, int) string {
		return deals(2, fmt.Sprintf(dealText, 1, "9007199254740993", "1", 7), fmt.Sprintf(dealText, 2, `"115792089237316195423570985008687907853269984665640564039457584007913129639935"`, `"3"`, 8))
	})
	found, err := c.Deals(t.Context(), url.Values{"app": {"0xaa"}}, 0)
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	huge := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	if d := found[0]; d.ID != common.BigToHash(big.NewInt(2)) || d.App.Price.Cmp(huge) != 0 || d.Volume.Int64() != 3 || d.BlockNumber.Int64() != 8 || d.Trust.Sign() != 0 {
		t.Errorf("first deal: %+v", d)
	}
	if d := found[1]; d.App.Price.Uint64() != 9007199254740993 || d.App.Address != common.HexToAddress("0xaa") || d.Requester != common.HexToAddress("0xcc") || d.Dataset.Address != (common.Address{}) {
		t.Errorf("second deal: %+v", d)
	}
}

// What isn't a list of deals is an error that says so, not an empty list.
func TestDealsDamaged(t *testing.T) {
	good := fmt.Sprintf(dealText, 1, "1", "1", 1)
	for _, body := range []string{
		`{"ok":true}`, `{"ok":true,"deals":{},"count":0}`, `{"ok":true,"deals":[{}],"count":1}`, deals(1, strings.Replace(good, `"volume":1`, `"volume":-1`, 1)),
		deals(1, strings.Replace(good, `"volume":1`, `"volume":1.5`, 1)),
		deals(1, strings.Replace(good, `0000cc"`, `0000"`, 1)), deals(1, strings.Replace(good, `"dealid":"0x`, `"dealid":"0x1`, 1)),
	} {
		c := answering(t, func(int, int) string { return body })
		if found, err := c.Deals(t.Context(), nil, 0); err == nil {
			t.Errorf("%s\nis read as %+v", body, found)
		}
	}
}

// A list that changes while it is read is read again; one that keeps changing is an error.
func TestListChanges(t *testing.T) {
	page := func(from, n, count int) string {
		rows := make([]string, n)
		for i := range rows {
			rows[i] = fmt.Sprintf(dealText, from+i+1, "1", "1", 1)
		}
		return deals(count, rows...)
	}
	shifted := answering(t, func(n, index int) string {
		if index == 0 {
			return page(0, 1000, 1001)
		}
		if n == 2 { // one was taken out meanwhile: the last of the first page comes again
			return page(999, 1, 1001)
		}
		return page(1000, 1, 1001)
	})
	if found, err := shifted.Deals(t.Context(), nil, 0); err != nil || len(found) != 1001 {
		t.Errorf("%d deals, %v; want 1001", len(found), err)
	}
	moving := answering(t, func(n, index int) string { return page(0, 1, 2) })
	if found, err := moving.Deals(t.Context(), nil, 0); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("%d deals, %v; want an error", len(found), err)
	}
	if found, err := moving.Deals(t.Context(), nil, 1); err != nil || len(found) != 1 {
		t.Errorf("%d deals, %v; want the one asked for", len(found), err)
	}
}
