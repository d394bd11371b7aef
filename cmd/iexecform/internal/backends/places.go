package backends

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/http"
	"github.com/iexecform/iexecform/state/local"
	"github.com/iexecform/iexecform/state/pg"
	"github.com/iexecform/iexecform/state/s3"
)

func localTable() *schema.Table {
	return &schema.Table{
		Type: Local,
		Doc: "Keeps the state in a file beside the configuration, made to be committed to git. It is what is used where no backend block is.\n\n" +
			"The lock belongs to the process: the system ends it with the process, on this machine. What is appended to the journal is on disk before anything is sent.",
		Example: "iexecform {\n  backend \"local\" {\n    path = \"states/shop.json\"\n  }\n}\n",
		Attrs: []schema.Attr{{
			Name: "path", Type: cty.String, Form: "file", Mode: schema.Optional, Default: cty.StringVal(local.SnapshotFile),
			Doc: "The file of the default workspace, which ends in `.json`; those of others are in `" + local.WorkspacesDir + "` beside it.",
			Parse: func(v cty.Value) (cty.Value, error) {
				if !strings.HasSuffix(v.AsString(), ".json") {
					return v, errors.New("the name of the file must end in .json")
				}
				return v, nil
			},
		}},
	}
}

func openLocal(_ context.Context, s settings, codec *state.Codec) (state.Backend, error) {
	return local.NewBackend(s.file("path"), codec), nil
}

func pgTable() *schema.Table {
	return &schema.Table{
		Type: "pg",
		Doc: "Keeps the state in PostgreSQL, version 14 or later. `iexecform init` makes the schema and its two tables.\n\n" +
			"Every write is one transaction that is refused when anybody else has written. The lock is an advisory lock of a connection of its own: it ends with the process, " +
			"and the server ends it when its holder gives no sign of life. Through a pooler, connections must be in session mode.\n\n" +
			"A password comes from PGPASSWORD, PGPASSFILE or a service file, as for psql.",
		Example: "iexecform {\n  backend \"pg\" {\n    conn_str    = \"postgres://iexecform@db.example.com/states?sslmode=verify-full\"\n    schema_name = \"shop\"\n  }\n}\n",
		Attrs: []schema.Attr{
			{Name: "conn_str", Type: cty.String, Form: "URL or keywords", Mode: schema.Optional, Default: cty.StringVal(""), Parse: withoutPassword,
				Doc: "How the database is reached, as for psql, without a password. What it leaves out comes from PGHOST, PGPORT, PGDATABASE, PGUSER, PGSSLMODE and so on."},
			{Name: "schema_name", Type: cty.String, Mode: schema.Optional, Default: cty.StringVal(pg.DefaultSchema), Doc: "The schema of the tables. Projects that share a database need one each."},
			ttl(" The server keeps it, as `idle_session_timeout`."),
		},
	}
}

// passwordKeyword is a password in a connection string of keywords.
var passwordKeyword = regexp.MustCompile(`(^|\s)(ssl)?password\s*=`)

// withoutPassword refuses a connection string that has a password.
func withoutPassword(v cty.Value) (cty.Value, error) {
	text := v.AsString()
	has := passwordKeyword.MatchString(text)
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			return v, errors.New("it is no URL such as postgres://user@host/database")
		}
		_, has = u.User.Password()
		has = has || u.Query().Has("password") || u.Query().Has("sslpassword")
	}
	if has {
		return v, errors.New("it has a password, which would be kept in a file: leave it out and set PGPASSWORD")
	}
	return v, nil
}

func openPG(ctx context.Context, s settings, codec *state.Codec) (state.Backend, error) {
	return pg.Open(ctx, pg.Options{ConnString: s.text("conn_str"), Schema: s.text("schema_name"), TTL: s.duration("lock_ttl"), Codec: codec})
}

func s3Table() *schema.Table {
	return &schema.Table{
		Type: "s3",
		Doc: "Keeps the state in a bucket of S3, or of a server that has its conditional writes (`If-None-Match` and `If-Match` of PUT); the Versity S3 Gateway is what it is tested with.\n\n" +
			"The snapshot is an object, each append to the journal another one, and the lock a third. Every write is refused by the server when anybody else has written. " +
			"The lock ends when its holder gives no sign of life, by the server's clock.\n\n" +
			"Credentials come from where the AWS tools find them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role. They need to list the bucket, and to get, put and delete objects.",
		Example: "iexecform {\n  backend \"s3\" {\n    bucket = \"example-states\"\n    key    = \"shop/iexecform.state.json\"\n    region = \"eu-west-3\"\n  }\n}\n",
		Attrs: []schema.Attr{
			{Name: "bucket", Type: cty.String, Mode: schema.Required, Doc: "The bucket, which exists."},
			{Name: "key", Type: cty.String, Mode: schema.Required, Doc: "The object of the default workspace; those of others are in `iexecform.state.d/NAME/` beside it."},
			{Name: "region", Type: cty.String, Mode: schema.Optional, Doc: "The bucket's region; else that of AWS_REGION or the profile."},
			{Name: "endpoint", Type: cty.String, Form: "URL", Mode: schema.Optional, Parse: parseURL, Doc: "The URL of another server than AWS."},
			{Name: "use_path_style", Type: cty.Bool, Mode: schema.Optional, Default: cty.False, Doc: "Whether the bucket is named in the path instead of the host, as many servers want it."},
			{Name: "profile", Type: cty.String, Mode: schema.Optional, Doc: "The profile of the AWS tools."},
			ttl(" One second is added, because objects tell their age in whole seconds."),
		},
	}
}

// parseURL refuses what is no URL of a server, and one that has a password.
func parseURL(v cty.Value) (cty.Value, error) {
	u, err := url.Parse(v.AsString())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return v, errors.New("want a URL such as https://example.com/…")
	}
	if u.User != nil {
		return v, errors.New("it has credentials, which would be kept in a file: leave them out")
	}
	return v, nil
}

func openS3(ctx context.Context, s settings, codec *state.Codec) (state.Backend, error) {
	return s3.Open(ctx, s3.Options{
		Bucket: s.text("bucket"), Key: s.text("key"), Region: s.text("region"), Endpoint: s.text("endpoint"), Profile: s.text("profile"),
		PathStyle: s.values["use_path_style"].True(), TTL: s.duration("lock_ttl"), Codec: codec,
	})
}

func httpTable() *schema.Table {
	text := func(name, doc string) schema.Attr {
		return schema.Attr{Name: name, Type: cty.String, Mode: schema.Optional, Doc: doc}
	}
	address := func(name string, mode schema.Mode, doc string) schema.Attr {
		return schema.Attr{Name: name, Type: cty.String, Form: "URL", Mode: mode, Parse: parseURL, Doc: doc}
	}
	secret := func(name, doc string) schema.Attr {
		return schema.Attr{Name: name, Type: cty.String, Mode: schema.Optional, Sensitive: true, Doc: doc}
	}
	life := ttl(" Each sign is a document that the server may keep.")
	life.Default = cty.StringVal("5m")
	return &schema.Table{
		Type: "http",
		Doc: "Keeps the state on a server that speaks Terraform's HTTP protocol, as GitLab's managed states do. The server must keep documents beside the state, too: the journal and the holder's sign of life " +
			"are at the state's address with `-journal-1`, `-journal-2`, … and `-lease` at its end.\n\n" +
			"A state is only taken from the holder of the lock. A server that refuses a serial that it has, as GitLab does, also keeps apart runs that ignore the lock. " +
			"The protocol's locks have no end: who waits with `--lock-timeout` for longer than `lock_ttl`, and sees no sign of life, breaks the lock.\n\n" +
			"Every argument also comes from the variable that Terraform has for it, such as TF_HTTP_PASSWORD.",
		Example: "iexecform {\n  backend \"http\" {\n    address        = \"https://gitlab.com/api/v4/projects/42/terraform/state/shop\"\n    lock_address   = \"https://gitlab.com/api/v4/projects/42/terraform/state/shop/lock\"\n" +
			"    unlock_address = \"https://gitlab.com/api/v4/projects/42/terraform/state/shop/lock\"\n    lock_method    = \"POST\"\n    unlock_method  = \"DELETE\"\n    username       = \"gitlab-ci-token\"\n  }\n}\n",
		Attrs: []schema.Attr{
			address("address", schema.Required, "Where the state is. `{workspace}` in it, and in the other addresses, is the workspace's name; without it there is only the default one."),
			text("update_method", "The method that writes; else POST."),
			address("lock_address", schema.Optional, "Where it is locked; else the address."),
			text("lock_method", "The method that locks; else LOCK."),
			address("unlock_address", schema.Optional, "Where it is unlocked; else the address."),
			text("unlock_method", "The method that unlocks; else UNLOCK."),
			text("username", "Who the user is."),
			secret("password", "The password or token, from the environment variable `IEXECFORM_BACKEND_PASSWORD`."),
			text("client_ca_certificate_pem", "The certificates, in PEM, of those who may have signed the server's; else the system's."),
			text("client_certificate_pem", "The certificate, in PEM, that shows the server who asks."),
			secret("client_private_key_pem", "Its key, from the environment variable `IEXECFORM_BACKEND_CLIENT_PRIVATE_KEY_PEM`."),
			life,
		},
	}
}

func openHTTP(_ context.Context, s settings, codec *state.Codec) (state.Backend, error) {
	return http.Open(http.Options{
		Address: s.text("address"), UpdateMethod: s.text("update_method"), LockAddress: s.text("lock_address"), LockMethod: s.text("lock_method"),
		UnlockAddress: s.text("unlock_address"), UnlockMethod: s.text("unlock_method"), Username: s.text("username"), Password: s.text("password"),
		CA: s.text("client_ca_certificate_pem"), Certificate: s.text("client_certificate_pem"), Key: s.text("client_private_key_pem"),
		TTL: s.duration("lock_ttl"), Codec: codec,
	})
}
