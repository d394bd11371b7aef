# An app from an image of this machine to an order on the market, tried on the way as a worker would run it: push, digest,
# trial, deploy, sign, publish. Run `make trial` to watch it.

iexecform {
  project = "trial"
}

variable "release" {
  type        = string
  default     = "1.0"
  description = "Tag of the image, in the local engine and in the registry."
}

provider "iexec" {
  chain = "localnet"
}

# What `docker tag` and `docker push` do. The digest is known before anything is pushed.
resource "oci_image" "words" {
  source    = "engine:words:${var.release}"
  reference = "127.0.0.1:5000/you/words:${var.release}"
}

resource "iexec_app" "words" {
  name      = "words ${var.release}"
  multiaddr = oci_image.words.reference
  checksum  = oci_image.words.checksum

  # Two runs, whose results must be the same. An app that fails is neither deployed nor sold.
  trial {
    dataset = "poem.txt" # DATASET_FILENAME
    args    = "night"
    expect  = ["determinism.iexec"]
  }
}

resource "iexec_apporder" "public" {
  app      = iexec_app.words.address
  appprice = "0.1 RLC"
  volume   = 100
}

output "app" {
  value = iexec_app.words.address
}

output "order_hash" {
  value = iexec_apporder.public.order_hash
}
