// This runs before Go's runtime does. With the environment's GOMAXPROCS far above the number of processors, the runtime takes minutes
// and gigabytes before the first instruction of the program; Go code comes too late to help.

#include <stdlib.h>
#include <unistd.h>

long phi3_gomaxprocs; // what the environment asked for, if that was too much

__attribute__((constructor)) static void bound(void)
{
	const char *text = getenv("GOMAXPROCS");
	long asked = text ? strtol(text, NULL, 10) : 0;

	if (asked > sysconf(_SC_NPROCESSORS_CONF)) {
		phi3_gomaxprocs = asked;
		unsetenv("GOMAXPROCS");
	}
}
