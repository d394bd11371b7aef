# The secret service of the test takes any key.

run "secret_before_sale" {
  variables {
    api_key = "not the real one"
  }
  assert {
    condition     = iexec_app_secret.api_key.app == iexec_app.forecast.address && iexec_apporder.public.status == "open"
    error_message = "The app is not for sale, or has no secret."
  }
}
