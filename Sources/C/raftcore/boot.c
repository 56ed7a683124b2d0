// Starts the Go runtime on demand. An archive's runtime is meant to start with the process, from
// .init_array; scripts/bootstrap takes that entry out of the archive, and this calls what it pointed at.
#include <pthread.h>

extern void HFR_RUNTIME_ENTRY(int argc, char **argv);

static int saved_argc;
static char **saved_argv;
static pthread_once_t once = PTHREAD_ONCE_INIT;

// The runtime looks behind argv for the environment and the kernel's auxiliary vector, so it needs the
// process's own.
__attribute__((constructor)) static void save(int argc, char **argv) {
    saved_argc = argc;
    saved_argv = argv;
}

static void boot(void) { HFR_RUNTIME_ENTRY(saved_argc, saved_argv); }

void hfr_boot(void) { pthread_once(&once, boot); }
