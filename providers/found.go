package providers

import (
	"context"

	"github.com/iexecform/iexecform/config/schema"
)

// Discoverer is an optional ability of a Client: to find what an owner has on its network.
type Discoverer interface {
	// Discover returns all objects of the owner that resources could manage, those that others refer to first. Requests
	// grow with pages and batches, not with objects. SIDE EFFECTS: none.
	Discover(ctx context.Context, owner string) (Discovery, error)
}

// Discovery is what a Discoverer found.
type Discovery struct {
	Objects  []Found
	Requests int // that it took
}

// Migrator is an optional ability of a Provider: to read a project of another tool.
type Migrator interface {
	// Migrate reads the project and, unless it is told not to, looks what of it exists. The error says which file can't be
	// read and where; what is only odd is among the findings. SIDE EFFECTS: none.
	Migrate(ctx context.Context, req MigrateRequest) (*Migration, error)
}

// MigrateRequest says what to migrate.
type MigrateRequest struct {
	Dir     string // of the project
	Offline bool   // believe the files
}

// Migration is the configuration that is equivalent to another tool's project.
type Migration struct {
	Project   string // name of the project, or ""
	Providers []FoundProvider
	Objects   []Found
	Findings  []Finding
}

// FoundProvider is a provider block.
type FoundProvider struct {
	Alias string // "" for the default configuration
	// Config is of the provider's table; what isn't to be written is null.
	Config  schema.Object
	Secrets []SecretSetting
}

// SecretSetting is an attribute that must come from a sensitive variable, as the project had a secret in it.
type SecretSetting struct {
	Attr     string
	Optional bool // there is a default without secret
}

// Found is an object that exists, or nearly: a resource that could manage it.
type Found struct {
	Type string
	ID   string // what Importer takes; "" for one that doesn't exist
	// Name is free text that the resource's name is made from; "" when Refers says it all.
	Name     string
	Provider string        // alias of the provider configuration, or ""
	Value    schema.Object // of the type's table; computed attributes may be null, and so may what isn't to be written
	Refers   []Reference
	Comment  string // stands above the resource, or ""
	// Inactive says why the resource is only written as a comment; "" when it is a resource.
	Inactive string
}

// Reference says that an attribute is one of another object.
type Reference struct {
	Attr string
	To   string // ID of an object of the same provider configuration
	Of   string // its attribute
}

// Finding is something that the reader of a migration should know.
type Finding struct {
	Kind  FindingKind `json:"kind"`
	Where string      `json:"where"` // file:line and key, or object, or ""
	Text  string      `json:"text"`
}

// FindingKind says what a Finding is about.
type FindingKind string

// The kinds of finding.
const (
	Unverified FindingKind = "unverified" // taken from the files without looking
	Differs    FindingKind = "differs"    // what exists isn't what the files say; what exists was written
	NotWritten FindingKind = "not-written"
	Secrets    FindingKind = "secret" // named, never copied
	Exposed    FindingKind = "exposed"
	DeadChain  FindingKind = "dead-chain"
	Unreadable FindingKind = "unreadable"
	UnknownKey FindingKind = "unknown-key"
	LeftOut    FindingKind = "left-out" // known, but without counterpart
)
