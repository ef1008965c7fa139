package emulator

import "testing"

func TestBuild(t *testing.T) {
	for _, kind := range []Kind{Fast} {
		path, err := Build(kind)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(path)
	}
}
