package poco

import (
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// proxyCodeHash is the hash of the creation code of every entry of the three registries (their proxyCodeHash()).
var proxyCodeHash = common.HexToHash("0xbd603b4fb17e88a3e7ff7a91b72bd89d0f6998fd53853f996c534d822df34587")

// entryCodeHash is the hash of the code that every entry of the three registries has on chain: that of a proxy, which this
// creation code makes.
var entryCodeHash = common.HexToHash("0xccbcf81a394f157ef0234e5b7af2f9cba7d60f5c136af5b1d65ef6b558b3cb93")

// EntryCodeHash is the hash of the code of every app, dataset and workerpool.
func EntryCodeHash() common.Hash { return entryCodeHash }

// ProxyCodeHash is the proxyCodeHash() of the registries of all chains, on which predicted addresses rest.
func ProxyCodeHash() common.Hash { return proxyCodeHash }

// App is the immutable part of an app on chain.
type App struct {
	Name      string
	Type      string // DOCKER
	Multiaddr []byte // image reference, UTF-8
	Checksum  common.Hash
	MREnclave []byte // empty for TDX
}

// Dataset is the immutable part of a dataset on chain.
type Dataset struct {
	Name      string
	Multiaddr []byte
	Checksum  common.Hash
}

// Workerpool is the immutable part of a workerpool on chain.
type Workerpool struct {
	Description string
}

// Fields is the app as the registry's kind has it.
func (a App) Fields() EntryFields {
	return EntryFields{[]byte(a.Name), []byte(a.Type), a.Multiaddr, a.Checksum[:], a.MREnclave}
}

// Fields is the dataset as the registry's kind has it.
func (d Dataset) Fields() EntryFields { return EntryFields{[]byte(d.Name), d.Multiaddr, d.Checksum[:]} }

// Fields is the workerpool as the registry's kind has it.
func (w Workerpool) Fields() EntryFields { return EntryFields{[]byte(w.Description)} }

// Initializer is the call initialize(...) with which the registry creates the app.
func (a App) Initializer() []byte { return AppEntry.Initializer(a.Fields()) }

// Initializer is the call initialize(...) with which the registry creates the dataset.
func (d Dataset) Initializer() []byte { return DatasetEntry.Initializer(d.Fields()) }

// Initializer is the call initialize(...) with which the registry creates the workerpool.
func (w Workerpool) Initializer() []byte { return WorkerpoolEntry.Initializer(w.Fields()) }

// EntrySalt is the CREATE2 salt of a registry entry: keccak256(initializer, first owner).
func EntrySalt(initializer []byte, firstOwner common.Address) common.Hash {
	return crypto.Keccak256Hash(initializer, firstOwner[:])
}

// EntryAddress is the address of the app, dataset or workerpool with that initializer. It depends on the first owner for
// ever: a transfer changes the owner and not the address.
func EntryAddress(registry, firstOwner common.Address, initializer []byte) common.Address {
	return crypto.CreateAddress2(registry, EntrySalt(initializer, firstOwner), proxyCodeHash[:])
}

// Address is the app's address in the registry.
func (a App) Address(registry, firstOwner common.Address) common.Address {
	return AppEntry.Address(registry, firstOwner, a.Fields())
}

// Address is the dataset's address in the registry.
func (d Dataset) Address(registry, firstOwner common.Address) common.Address {
	return DatasetEntry.Address(registry, firstOwner, d.Fields())
}

// Address is the workerpool's address in the registry.
func (w Workerpool) Address(registry, firstOwner common.Address) common.Address {
	return WorkerpoolEntry.Address(registry, firstOwner, w.Fields())
}
