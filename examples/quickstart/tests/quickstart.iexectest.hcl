# `iexecform test` runs this on a network of its own: nothing needs to be started, and nothing is left.

run "sells_the_app" {
  assert {
    condition     = iexec_apporder.public.app == output.app && iexec_apporder.public.status == "open"
    error_message = "The app is not on the market."
  }
}

run "a_price_change_keeps_the_app" {
  variables {
    price = "0.7 RLC"
  }
  assert {
    condition     = output.app == run.sells_the_app.app
    error_message = "The app was replaced."
  }
  assert {
    condition     = output.order_hash != run.sells_the_app.order_hash && iexec_apporder.public.appprice == nrlc("0.7 RLC")
    error_message = "The order still has the old price."
  }
}
