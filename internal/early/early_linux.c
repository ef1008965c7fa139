// This runs before Go's runtime. If GOMAXPROCS is far above the number of processors, the runtime takes
// minutes and gigabytes before the program's first instruction. And if stdout is closed,
// the runtime opens /dev/null as stdout. Go code runs too late to change either.

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

long phi3_gomaxprocs; // the environment's GOMAXPROCS, if it was larger than the number of processors
int phi3_stdout_closed;

__attribute__((constructor)) static void early(void)
{
	const char *text = getenv("GOMAXPROCS");
	long asked = text ? strtol(text, NULL, 10) : 0;

	if (asked > sysconf(_SC_NPROCESSORS_CONF)) {
		phi3_gomaxprocs = asked;
		unsetenv("GOMAXPROCS");
	}
	phi3_stdout_closed = fcntl(STDOUT_FILENO, F_GETFD) == -1;
}
