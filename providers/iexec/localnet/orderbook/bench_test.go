package orderbook

import (
	"fmt"
	"math/big"
	"net/http/httptest"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// BenchmarkListByOwner lists one page of 1,000 of a wallet's 20,000 orders.
func BenchmarkListByOwner(b *testing.B) {
	owner := common.Address{1}
	s := &Server{book: newBook(31337), chainID: "31337"}
	for i := range 20_000 {
		o := poco.AppOrder.Zero()
		o["app"], o["appprice"], o["volume"] = common.BigToAddress(big.NewInt(int64(i%1000+1))).Hex(), fmt.Sprint(i%7), "1"
		hash, err := poco.Localnet().Domain().OrderHash(poco.AppOrder, o)
		if err != nil {
			b.Fatal(err)
		}
		hash[0], hash[1], hash[2] = byte(i), byte(i>>8), byte(i>>16)
		s.book.put(record{kind: poco.AppOrder, hash: hash, order: o, sign: "0x12", signer: owner, status: statusOpen, remaining: 1, published: int64(i)})
	}
	for name, filter := range map[string]string{"all": "&dataset=any&workerpool=any&requester=any", "unrestricted": ""} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/apporders?chainId=31337&appOwner="+owner.Hex()+"&pageSize=1000&pageIndex=10"+filter, nil)
			for b.Loop() {
				if _, err := s.list(poco.AppOrder, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
