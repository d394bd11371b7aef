# An app with a secret of its developer: an API key that the app's tasks get inside of their enclave, and nobody else ever.
#
# The key comes from the environment, and is kept nowhere:
#
#     export IEXECFORM_VAR_api_key=…
#     iexecform apply

iexecform {
  project = "app-secret"
}

provider "iexec" {
  chain = "localnet"
}

variable "api_key" {
  description = "Key of the weather service."
  type        = string
  ephemeral   = true # neither in the state nor in a plan; a saved plan needs it again
  sensitive   = true
}

resource "iexec_app" "forecast" {
  name      = "forecast"
  multiaddr = "127.0.0.1:5000/iexecform/hello-world:1.0"
}

# Once for ever: another key needs another app, such as one with another name.
resource "iexec_app_secret" "api_key" {
  app   = iexec_app.forecast.address
  value = var.api_key
}

# It isn't published before the app has its secret, although it doesn't refer to it.
resource "iexec_apporder" "public" {
  app      = iexec_app.forecast.address
  appprice = "0.1 RLC"
  volume   = 1000
}
