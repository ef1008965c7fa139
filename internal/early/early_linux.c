// This runs before Go's runtime does. With the environment's GOMAXPROCS far above the number of processors, the runtime takes minutes
// and gigabytes before the first instruction of the program; and it opens /dev/null in the place of a closed stdout. Go code comes too
// late for both.

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

long phi3_gomaxprocs; // what the environment asked for, if that was too much
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
