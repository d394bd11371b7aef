package errcode

import (
	"context"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/docker"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/sms"
	"github.com/iexecform/iexecform/providers/oci"
	"github.com/iexecform/iexecform/providers/trial"
	"github.com/iexecform/iexecform/state"
)

// The hundreds: 00 the program, 10 files and syntax, 11 blocks and arguments, 12 references, 13 expressions and values,
// 14 variables, 15 import, moved and removed, 16 lifecycle and checks, 17 modules, 18 test files, 20 state, 30 planning,
// 40 saved plans, 50 actions, 60 chain and wallet, 61 market, 62 images, 63 secrets, 90 defects.
//
// Where several rows fit an error, the first one counts.
var table = []Code{
	{ID: Other, Meaning: "The command can't do what was asked. The text says why."},
	{ID: "IXF0002", is: is(context.Canceled), Meaning: "The run was interrupted.", Summaries: []string{"Evaluation interrupted"}},
	{ID: "IXF0003", Meaning: "A project of the official command line can't be migrated.", Summaries: []string{"Cannot migrate *"}},

	{ID: "IXF1001", Meaning: "A file or directory of the configuration can't be read.", Summaries: []string{
		"Cannot read a configuration file", "Cannot read the configuration directory", "Failed to close file", "Failed to open file", "Failed to read file"}},
	{ID: "IXF1002", Meaning: "The syntax is wrong: HCL can't be read here.", Summaries: []string{
		"Argument definition required", "Argument or block definition required", "Attribute name required", "Extra characters after expression",
		"Extra characters after interpolation expression", "Extra characters in * marker", "Index value required", "Invalid 'for' directive",
		"Invalid 'for' expression", "Invalid argument name", "Invalid attribute name", "Invalid block definition", "Invalid character",
		"Invalid character encoding", "Invalid escape sequence", "Invalid expression", "Invalid legacy index syntax", "Invalid multi-line string",
		"Invalid nested splat expressions", "Invalid number literal", "Invalid single-argument block definition", "Invalid string literal",
		"Invalid template control keyword", "Invalid template directive", "Missing argument separator", "Missing attribute separator",
		"Missing attribute value", "Missing close bracket on index", "Missing close bracket on splat index", "Missing closing parenthesis",
		"Missing expression", "Missing false expression in conditional", "Missing function name", "Missing item separator",
		"Missing key/value separator", "Missing newline after argument", "Missing newline after block definition", "Missing open parenthesis",
		"Nested splat expression not allowed", "Unbalanced parentheses", "Unclosed configuration block", "Unclosed configuration body",
		"Unclosed index brackets", "Unclosed template interpolation sequence", "Unexpected * directive", "Unexpected comma after argument",
		"Unexpected else directive", "Unexpected end of template", "Unsupported operator", "Unterminated function call",
		"Unterminated object constructor expression", "Unterminated string literal", "Unterminated template string",
		"Unterminated tuple constructor expression", "Variable name required"}},
	{ID: "IXF1003", Meaning: "The syntax is wrong: JSON can't be read here, or isn't what stands for HCL.", Summaries: []string{
		"Extraneous data after value", "Extraneous JSON object property", "Incorrect JSON value type", "Invalid array value", "Invalid JSON configuration",
		"Invalid JSON keyword", "Invalid JSON number", "Invalid JSON string", "Invalid object key expression", "Invalid object property name",
		"Invalid start of value", "Mismatched braces", "Mismatched brackets", "Missing array element value", "Missing attribute seperator comma",
		"Missing JSON value", "Missing object value", "Missing property value colon", "Missing value", "Root value must be object",
		"Trailing comma in array", "Trailing comma in object", "Unclosed object"}},
	{ID: "IXF1004", Meaning: "The configuration is for another version of the program, by its `required_version`.", Summaries: []string{"Unsupported program version"}},
	{ID: "IXF1005", Meaning: "A version constraint can't be read.", Summaries: []string{"Invalid version constraint"}},
	{ID: "IXF1006", Meaning: "An override file overrides what isn't there, or what can't be overridden.", Summaries: []string{"Invalid override", "Nothing to override"}},

	{ID: "IXF1007", Meaning: "The configuration is larger, or goes deeper, than the program reads.", Summaries: []string{
		"Expression is nested too deeply", "JSON is nested too deeply"}},

	{ID: "IXF1101", Meaning: "There is no argument or block of this name here.", Summaries: []string{"Unexpected * block", "Unsupported argument", "Unsupported block type"}},
	{ID: "IXF1102", Meaning: "Something that is required is missing.", Summaries: []string{
		"Missing * for *", "Missing block label", "Missing required argument", "Missing required attribute"}},
	{ID: "IXF1103", Meaning: "Something is there twice.", Summaries: []string{
		"Attribute redefined", "Duplicate argument", "Duplicate attribute definition", "Duplicate declaration", "Duplicate object attribute"}},
	{ID: "IXF1104", Meaning: "A name, or a label, can't be one.", Summaries: []string{"Extraneous label for *", "Invalid name"}},
	{ID: "IXF1105", Meaning: "There is no such provider, type of resource or data source, backend or encryption.", Summaries: []string{
		"Unknown *", "Unknown data source type", "Unknown provider", "Unknown resource type"}},
	{ID: "IXF1106", Meaning: "The provider sets this attribute, so the configuration can't.", Summaries: []string{"Computed attribute set"}},
	{ID: "IXF1107", Meaning: "`count` and `for_each` exclude each other.", Summaries: []string{"Invalid combination of count and for_each"}},
	{ID: "IXF1108", Meaning: "A `dynamic` block is not well formed.", Summaries: []string{
		"Extraneous dynamic block label", "Extraneous dynamic content block", "Insufficient dynamic block labels", "Invalid dynamic block label",
		"Invalid dynamic for_each value", "Invalid dynamic iterator name", "Invalid iterator", "Missing content block", "Missing dynamic content block"}},
	{ID: "IXF1109", Meaning: "A type can't be read, or a default in it doesn't fit.", Summaries: []string{
		"Invalid default value for optional attribute", "Invalid type specification"}},
	{ID: "IXF1110", Meaning: "`provider` doesn't name a provider configuration of the type.", Summaries: []string{"Invalid provider"}},
	{ID: "IXF1111", Meaning: "A secret is written down in the configuration, which is shared.", Summaries: []string{"Secret in the configuration"}},

	{ID: "IXF1201", Meaning: "A reference is not well formed here.", Summaries: []string{"Invalid reference"}},
	{ID: "IXF1202", Meaning: "What is referred to isn't declared.", Summaries: []string{
		"Reference to undeclared *", "Reference to undeclared block", "Reference to undeclared module", "Reference to undeclared provider",
		"Reference to undeclared variable", "Unknown variable"}},
	{ID: "IXF1203", Meaning: "The object has no attribute of this name.", Summaries: []string{"Unsupported attribute"}},
	{ID: "IXF1204", Meaning: "The block has instances, so a key must say which one is meant.", Summaries: []string{"Missing instance key"}},
	{ID: "IXF1205", Meaning: "Blocks refer to each other in a circle.", Summaries: []string{"Cycle", "Self-referential block"}},
	{ID: "IXF1206", Meaning: "`depends_on` names something that isn't a resource or data block.", Summaries: []string{"Invalid depends_on"}},
	{ID: "IXF1207", Meaning: "A write-only attribute can't be referred to: it is kept nowhere.", Summaries: []string{"Write-only attribute"}},
	{ID: "IXF1208", Meaning: "References and calls have no place here: the value must be literal.", Summaries: []string{"Function calls not allowed", "Loops not allowed", "Variables not allowed"}},

	{ID: "IXF1301", Meaning: "An expression can't be computed with the values that it has.", Summaries: []string{
		"Ambiguous attribute key", "Attempt to get attribute from null value", "Attempt to index null value", "Condition is null",
		"Duplicate object key", "Inconsistent conditional result types", "Incorrect condition type", "Incorrect key type", "Invalid 'for' condition",
		"Invalid index", "Invalid object key", "Invalid operand", "Invalid path step", "Invalid template interpolation value",
		"Iteration over non-iterable value", "Iteration over null value", "Missing map element", "Null condition", "Null value as key",
		"Operation failed", "Splat of null value"}},
	{ID: "IXF1302", Meaning: "A function is unknown, or fails, or has the wrong arguments.", Summaries: []string{
		"Call to unknown function", "Error in function call", "Invalid expanding argument value", "Invalid function argument",
		"Not enough function arguments", "Too many function arguments"}},
	{ID: "IXF1303", Meaning: "`count` is not a whole number of at least 0 that is known while planning.", Summaries: []string{"Invalid count"}},
	{ID: "IXF1304", Meaning: "`for_each` is not a map or a set of text that is known while planning.", Summaries: []string{"Invalid for_each"}},
	{ID: "IXF1305", Meaning: "The value doesn't fit the attribute.", Summaries: []string{"Invalid number", "Invalid value"}},
	{ID: "IXF1306", Meaning: "A sensitive or ephemeral value leads where it would be shown or kept.", Summaries: []string{
		"Ephemeral value in an attribute that is kept", "Output refers to ephemeral values", "Output refers to sensitive values",
		"Sensitive value in a public attribute"}},
	{ID: "IXF1307", Meaning: "The value is known only after apply, and needed before.", Summaries: []string{"Value known only after apply"}},
	{ID: "IXF1308", Meaning: "What is referred to has no value, because of another error.", Summaries: []string{"No value"}},

	{ID: "IXF1309", Meaning: "An expression would make a value that is too large, or take too long.", Summaries: []string{
		"Too much to evaluate", "Value is too large"}},

	{ID: "IXF1401", Meaning: "There is no such variable.", Summaries: []string{"Undeclared variable"}},
	{ID: "IXF1402", Meaning: "A variable has no value: give one.", Summaries: []string{"Missing value for variable", "No value for variable *"}},
	{ID: "IXF1403", Meaning: "The value of a variable doesn't fit its type, or its validation refuses it.", Summaries: []string{"Invalid value for variable"}},
	{ID: "IXF1404", Meaning: "The default of a variable doesn't fit its type.", Summaries: []string{"Invalid default"}},
	{ID: "IXF1405", Meaning: "The validation of a variable is not well formed.", Summaries: []string{"Invalid validation"}},
	{ID: "IXF1406", Meaning: "A file with values of variables can't be read.", Summaries: []string{"Cannot read a variables file"}},
	{ID: "IXF1407", Meaning: "`--var` is not NAME=VALUE.", Summaries: []string{"Invalid --var"}},
	{ID: "IXF1408", Meaning: "A saved plan has the values of its variables: they can't be given again.", Summaries: []string{"Variable of a saved plan"}},

	{ID: "IXF1501", Meaning: "An import block is not well formed.", Summaries: []string{"Invalid id", "Invalid import", "Invalid key"}},
	{ID: "IXF1502", Meaning: "What is imported has no block, or no instance, to be.", Summaries: []string{
		"Cannot write the resource block", "Import to an unknown instance", "Import without a resource block"}},
	{ID: "IXF1503", Meaning: "An object, or an address, is imported twice.", Summaries: []string{"Duplicate import"}},
	{ID: "IXF1504", Meaning: "What is to be imported is not there, or can't be.", Summaries: []string{"Cannot import", "Import of something that is not known yet"}},
	{ID: "IXF1511", Meaning: "A moved block is not well formed.", Summaries: []string{"Invalid address", "Invalid move", "Redundant move"}},
	{ID: "IXF1512", Meaning: "Moves contradict each other.", Summaries: []string{"Ambiguous moves", "Cycle of moves"}},
	{ID: "IXF1513", Meaning: "An object would move to where nothing is configured, or something is already.", Summaries: []string{
		"Move to an existing object", "Move to something that is not configured"}},
	{ID: "IXF1521", Meaning: "A removed block is not well formed.", Summaries: []string{"Ambiguous removal", "Invalid mode", "Invalid removed block"}},
	{ID: "IXF1522", Meaning: "What is moved or removed is still configured.", Summaries: []string{"** object is still configured"}},

	{ID: "IXF1601", Meaning: "A lifecycle block is not well formed.", Summaries: []string{
		"Invalid *", "Invalid ignore_changes", "Invalid lifecycle", "Invalid replace_triggered_by"}},
	{ID: "IXF1602", Meaning: "A setting of a lifecycle block has no effect.", Summaries: []string{"create_before_destroy has no effect", "Redundant ignore_changes"}},
	{ID: "IXF1603", Meaning: "An object would go that `prevent_destroy` protects.", Summaries: []string{"Instance cannot be destroyed"}},
	{ID: "IXF1604", Meaning: "A condition is not well formed.", Summaries: []string{"Invalid condition"}},
	{ID: "IXF1605", Meaning: "A precondition or postcondition doesn't hold.", Summaries: []string{"Postcondition failed", "Precondition failed"}},
	{ID: "IXF1606", Meaning: "An assertion of a check block doesn't hold, which is a warning.", Summaries: []string{"Check block assertion failed"}},
	{ID: "IXF1607", Meaning: "A check block is not well formed.", Summaries: []string{"Invalid check", "Invalid data source of a check"}},
	{ID: "IXF1608", Meaning: "A policy refuses a change. Where it is meant, acknowledge the policy with `--ack`.", Summaries: []string{"Policy failed"}},
	{ID: "IXF1609", Meaning: "A policy block is not well formed.", Summaries: []string{"Invalid policy"}},

	{ID: "IXF1701", Meaning: "The module isn't installed. Run `iexecform init`.", Summaries: []string{"Module not installed"}},
	{ID: "IXF1702", Meaning: "There is no module at the source, or none that may be used.", Summaries: []string{"Module outside of its package", "No module there"}},
	{ID: "IXF1703", Meaning: "Modules call each other without end.", Summaries: []string{"Module calls itself", "Too many modules within modules"}},
	{ID: "IXF1704", Meaning: "A block has no place in a module that is called.", Summaries: []string{"Invalid block in a module"}},
	{ID: "IXF1705", Meaning: "The version of a module can't be read.", Summaries: []string{"Invalid version"}},

	{ID: "IXF1801", Meaning: "A test file can't be read.", Summaries: []string{"Cannot read a test file", "Cannot read the test files"}},
	{ID: "IXF1802", Meaning: "A test file is not well formed.", Summaries: []string{"Invalid expect_failures", "Invalid target", "Invalid values", "Unknown assertion"}},
	{ID: "IXF1803", Meaning: "A failure that a test expects did not happen.", Summaries: []string{"Missing expected failure"}},
	{ID: "IXF1804", Meaning: "A test, or a run of it, can't be carried out.", Summaries: []string{"Cannot begin the test", "Cannot carry out the run"}},
	{ID: "IXF1805", Meaning: "An assertion of a test doesn't hold.", Summaries: []string{"Test assertion failed"}},

	{ID: "IXF2001", is: as[*state.LockedError](nil), Meaning: "Somebody else holds the lock of the state. Try again, or give `--lock-timeout`.", Summaries: []string{"The state is locked"}},
	{ID: "IXF2002", is: as[*state.DamagedError](nil), Meaning: "The state is damaged.", Summaries: []string{"Damaged state"}},
	{ID: "IXF2003", is: as[*state.NewerError](nil), Meaning: "The state was written by a newer program."},
	{ID: "IXF2004", is: as[*state.ConflictError](nil), Meaning: "Another run has written the state since this one began. Nothing was overwritten."},
	{ID: "IXF2005", is: as[*plan.NetworkError](nil), Meaning: "The state, or the plan, belongs to another network than the provider reaches."},
	{ID: "IXF2006", is: as[*state.EditedError](nil), Meaning: "The state was edited, merged or damaged after iexecform wrote it."},
	{ID: "IXF2007", Meaning: "The end of the journal can't be read, and was left out.", Summaries: []string{"Journal repaired"}},

	{ID: "IXF3001", Meaning: "No plan could be made for an object.", Summaries: []string{"Planning failed"}},
	{ID: "IXF3002", Meaning: "What exists can't be read.", Summaries: []string{"Cannot read a data source", "Cannot read the data source", "Cannot read what exists"}},
	{ID: "IXF3003", Meaning: "A provider can't be used with its settings.", Summaries: []string{"Cannot use the provider"}},
	{ID: "IXF3004", Meaning: "The state has objects of a provider configuration that is gone.", Summaries: []string{"Provider configuration missing"}},
	{ID: "IXF3005", Meaning: "Objects depend on each other against the order of their actions.", Summaries: []string{"Contradictory order"}},
	{ID: "IXF3006", Meaning: "A flag names something that isn't there.", Summaries: []string{"No such policy", "No such resource", "Unknown target"}},
	{ID: "IXF3007", Meaning: "A service would refuse the plan as a whole.", Summaries: []string{"The plan can't be applied"}},

	{ID: "IXF4001", is: as[*apply.StaleError](nil), Meaning: "The saved plan is not of this state any more. Nothing was sent. Plan again.", Summaries: []string{"Saved plan is stale"}},
	{ID: "IXF4002", is: as[*apply.PreconditionError](nil), Meaning: "What the plan takes for granted no longer holds. Nothing was sent. Plan again.", Summaries: []string{"Plan precondition failed"}},
	{ID: "IXF4003", is: as[*plan.FileError](nil), Meaning: "The file is not a plan, was changed after it was made, was made by a newer program, or can't be decrypted."},
	{ID: "IXF4004", Meaning: "The configuration that the plan needs can't be evaluated again.", Summaries: []string{"Cannot evaluate the configuration again"}},

	{ID: "IXF5001", Meaning: "An action failed. What was done is remembered.", Summaries: []string{"*: * failed", "Action failed"}},
	{ID: "IXF5002", is: as[*providers.HeldError](nil), Meaning: "An action is held: nothing failed, but it waits for somebody or something.", Summaries: []string{"*: * is held"}},

	{ID: "IXF6001", is: as[*chain.UnreachableError](nil), Meaning: "The chain's RPC endpoint gives no answer, or none of a node."},
	{ID: "IXF6002", is: as[*chain.RevertError](nil), Meaning: "A contract refused a transaction or a call."},
	{ID: "IXF6003", is: is(chain.ErrNoWallet), Meaning: "There is no wallet, and one is needed."},
	{ID: "IXF6004", is: as[*chain.FundsError](nil), Meaning: "The wallet can't pay for the gas. Nothing was sent."},

	{ID: "IXF6101", is: as(func(e *market.Error) bool { return e.Status == 0 }), Meaning: "The market can't be reached."},
	{ID: "IXF6102", is: as[*market.Error](nil), Meaning: "The market refused a request, or answered with an error."},

	{ID: "IXF6201", is: is(oci.ErrNotFound), Meaning: "There is no such image."},
	{ID: "IXF6202", is: is(oci.ErrDenied), Meaning: "The registry denies access to the image."},
	{ID: "IXF6203", is: is(oci.ErrUnavailable), Meaning: "The registry can't be reached, or answered with an error."},

	{ID: "IXF6301", is: as(func(e *sms.Error) bool { return e.Status == 0 }), Meaning: "The secret management service can't be reached."},
	{ID: "IXF6302", is: as[*sms.Error](nil), Meaning: "The secret management service refused a request, or answered with an error."},
	{ID: "IXF6303", is: as[*sms.ExistsError](nil), Meaning: "The app has a secret already, which can be neither read nor changed."},

	{ID: "IXF6401", is: as[*trial.FailedError](nil), Meaning: "An image did not pass its trial: it is not fit to be offered. What waits for it is not done."},
	{ID: "IXF6402", is: is(docker.ErrNoEngine), Meaning: "No container engine can be reached, and one is needed."},
	{ID: "IXF6403", is: is(trial.ErrNoImage), Meaning: "The container engine neither has the image nor can pull it."},

	{ID: "IXF9001", Meaning: "A defect of the program: please report it.", Summaries: []string{"Incomplete answer", "Invalid configuration"}},
}
