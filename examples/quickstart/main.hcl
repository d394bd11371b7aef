# One app and one order that sells it, on the local network.

iexecform {
  project = "quickstart"
}

variable "price" {
  type        = string
  default     = "0.5 RLC"
  description = "Price of one run."
}

provider "iexec" {
  chain = "localnet"
}

# The digest that the image's tag has now.
data "oci_image" "hello" {
  reference = "127.0.0.1:5000/iexecform/hello-world:1.0"
}

resource "iexec_app" "hello" {
  name      = "hello-world"
  multiaddr = data.oci_image.hello.reference
  checksum  = data.oci_image.hello.checksum
}

resource "iexec_apporder" "public" {
  app      = iexec_app.hello.address # known before the app is deployed
  appprice = var.price
  volume   = 1000
}

output "app" {
  value       = iexec_app.hello.address
  description = "Address of the app."
}

output "order_hash" {
  value       = iexec_apporder.public.order_hash
  description = "Hash of the order that sells it."
}
