# The app's image and price, as the guide has them. The chain, the wallet and the registry of the test are its own.

run "guide" {
  assert {
    condition     = iexec_app.nilearn.checksum == "0xf8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6"
    error_message = "This is not the image of the guide."
  }
  assert {
    condition     = iexec_apporder.public.appprice == 0 && iexec_apporder.public.remaining == 1000000
    error_message = "The app is not free for a million runs."
  }
}
