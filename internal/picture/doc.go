// Package picture draws what phi3 measures as SVG files, which every browser shows and which can be read as text.
//
// It knows nothing of models: [Path] takes words and numbers and says where they go. An SVG is written by hand here, element after
// element, because a picture of some boxes and bars needs no library.
package picture
