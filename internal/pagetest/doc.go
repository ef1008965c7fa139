// Package pagetest tests the page of phi3 explore in a real browser, Debian's Chromium: what the page draws,
// beside what phi3 next-token --json prints; the mouse and the keyboard; links; hostile text; other origins;
// and accessibility. Without Chromium, its tests are skipped.
//
// They are not built for the race detector: the packages of the browser take minutes to compile for it, and
// internal/serve and internal/explore have tests of the same requests.
package pagetest
