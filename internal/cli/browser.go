package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"phi3/internal/show"
)

// openBrowser opens an address in a browser, which stays open after this program. It says so if it cannot.
// A package would add little to this: each system has one command for it, and $BROWSER, a machine without a
// display, and a browser that Ctrl-C must not end would still be ours to handle.
func openBrowser(ctx context.Context, s *streams, address string) {
	why := "there is no display, and $BROWSER is not set"
	for _, command := range browserCommands(runtime.GOOS, os.Getenv, address) {
		name, err := exec.LookPath(command[0])
		if err != nil {
			why = "there is no " + command[0] + ", and $BROWSER is not set"
			if os.Getenv("BROWSER") != "" {
				why = "none of the commands in $BROWSER exists"
			}
			continue
		}
		// Its output would be among ours. The end of ctx does not end it.
		browser := exec.CommandContext(context.WithoutCancel(ctx), name, command[1:]...)
		ownSession(browser)
		if err := browser.Start(); err != nil {
			why = err.Error()
			continue
		}
		go func() {
			if err := browser.Wait(); err != nil {
				_, _ = show.Fprintf(s.notes(), "note: %s ended with %v; open the address in a browser\n",
					command[0], err)
			}
		}()
		return
	}
	_, _ = show.Fprintf(s.notes(), "note: no browser was opened: %s; open the address in a browser\n", why)
}

// browserCommands returns the commands that can open an address, the best first.
func browserCommands(system string, env func(string) string, address string) (commands [][]string) {
	if list := env("BROWSER"); list != "" { // as Python reads it: NAME ARG %s, several with colons
		for _, entry := range filepath.SplitList(list) {
			command := strings.Fields(entry)
			if len(command) == 0 {
				continue
			}
			if !strings.Contains(entry, "%s") {
				command = append(command, address)
			}
			for i := range command {
				command[i] = strings.ReplaceAll(command[i], "%s", address)
			}
			commands = append(commands, command)
		}
		return commands
	}
	switch system {
	case "darwin":
		return [][]string{{"open", address}}
	case "windows":
		return [][]string{{"rundll32", "url.dll,FileProtocolHandler", address}}
	}
	if env("WSL_DISTRO_NAME") != "" { // the browser of Windows
		commands = append(commands, []string{"wslview", address})
	}
	if env("DISPLAY") != "" || env("WAYLAND_DISPLAY") != "" {
		commands = append(commands, []string{"xdg-open", address})
	}
	return commands
}
