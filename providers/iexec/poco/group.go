package poco

import (
	"sync"

	"github.com/ethereum/go-ethereum/accounts/abi"
)

// GroupMember is the purpose of keys that are members of a group. Source: FacetBase.sol, GROUPMEMBER_PURPOSE.
const GroupMember = 4

// GroupABI is what the hub asks of a contract that stands in a restriction of an order: whether an address, as 32 bytes, is
// a member (ERC-734). Source: SignatureVerifier.sol, _isAccountAuthorizedByRestriction.
var GroupABI = sync.OnceValue(func() *abi.ABI {
	return build(fn("keyHasPurpose", "bytes32 key,uint256 purpose", "bool"))
})
