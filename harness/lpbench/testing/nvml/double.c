/* A double of libnvidia-ml.so.1: a GPU whose power is a known function of time.
 *
 * Owns: the answers of NVML's C interface for a scenario (scenario.py writes it, names and units
 * are its), read at every nvmlInit from the file that LPBENCH_NVML_DOUBLE names. Without that
 * variable: 300 W for ever.
 * Must not know: who asks.
 *
 * Time is CLOCK_MONOTONIC, or the int64 of nanoseconds in the file that `clock` names. Struct
 * layouts follow nvml.h; return codes are its nvmlReturn_t. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int Return;
typedef void *Device;
enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { U32 = 1, U64 = 3 };            /* nvmlValueType_t */
enum { SCOPE_MODULE = 1 };            /* nvmlPowerScopeType_t */
enum { MAX_KNOTS = 4096, MAX_GPUS = 8 };
static const double NEVER = 1e300;
static const double SLOWDOWN_S = 0.02; /* shorter than any sampler's interval */
static const double HOST_W = 100;      /* what the module's scope adds to the GPU's */

static struct {
    int knots, gpus, mig, no_gpm, error_code, power_cap;
    double at[MAX_KNOTS], watts[MAX_KNOTS];
    double repeat_s, tick_s, sensor_s, sensor_duty, counter_gain, dram_utilisation;
    double stuck_from_s, reset_at_s, error_from_s, error_until_s, thermal_at_s, hw_at_s;
    double process_from_s, process_until_s;
    char unsupported[1024];
} the;
static const volatile int64_t *shared_ns;
static int gpu[MAX_GPUS];

/* ---- the scenario ---- */

static void share_clock(const char *path)
{
    int file = open(path, O_RDONLY);
    void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED) {
        perror(path);
        abort();
    }
    shared_ns = map;
}

static void set(const char *key, const char *value)
{
    static const struct { const char *key; double *value; } numbers[] = {
        {"repeat_s", &the.repeat_s}, {"tick_s", &the.tick_s}, {"sensor_s", &the.sensor_s},
        {"sensor_duty", &the.sensor_duty}, {"counter_gain", &the.counter_gain},
        {"dram_utilisation", &the.dram_utilisation}, {"stuck_from_s", &the.stuck_from_s},
        {"reset_at_s", &the.reset_at_s}, {"error_from_s", &the.error_from_s},
        {"error_until_s", &the.error_until_s}, {"thermal_at_s", &the.thermal_at_s},
        {"hw_at_s", &the.hw_at_s}, {"process_from_s", &the.process_from_s},
        {"process_until_s", &the.process_until_s}};
    static const struct { const char *key; int *value; } counts[] = {
        {"gpus", &the.gpus}, {"mig", &the.mig}, {"no_gpm", &the.no_gpm},
        {"error_code", &the.error_code}, {"power_cap", &the.power_cap}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(key, numbers[i].key)) {
            *numbers[i].value = atof(value);
            return;
        }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (!strcmp(key, counts[i].key)) {
            *counts[i].value = atoi(value);
            return;
        }
    if (!strcmp(key, "knot") && the.knots < MAX_KNOTS) {
        sscanf(value, "%lf %lf", &the.at[the.knots], &the.watts[the.knots]);
        the.knots++;
    } else if (!strcmp(key, "unsupported"))
        snprintf(the.unsupported, sizeof the.unsupported, " %s ", value);
    else if (!strcmp(key, "clock"))
        share_clock(value);
    else {
        fprintf(stderr, "NVML double: unknown or too many of: %s %s\n", key, value);
        abort();
    }
}

static void load_scenario(void)
{
    memset(&the, 0, sizeof the);
    the.gpus = 1;
    the.tick_s = the.sensor_s = 0.1;
    the.sensor_duty = the.counter_gain = 1;
    the.stuck_from_s = the.reset_at_s = the.error_from_s = NEVER;
    the.thermal_at_s = the.hw_at_s = the.process_from_s = NEVER;
    the.error_until_s = the.process_until_s = NEVER;
    const char *path = getenv("LPBENCH_NVML_DOUBLE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (path && !file) {
        perror(path);
        abort();
    }
    char line[1200];
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ' ');
        line[strcspn(line, "\n")] = 0;
        if (!value)
            continue;
        *value = 0;
        set(line, value + 1);
    }
    if (file)
        fclose(file);
    if (!the.knots)
        set("knot", "0 300");
}

/* ---- physics ---- */

static double now_s(void)
{
    struct timespec t;
    if (shared_ns)
        return *shared_ns * 1e-9;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double curve_w(double t) /* linear between knots, level outside; the later of two wins */
{
    int i = 0;
    while (i < the.knots && the.at[i] <= t)
        i++;
    if (i == 0 || i == the.knots)
        return the.watts[i ? i - 1 : 0];
    double share = (t - the.at[i - 1]) / (the.at[i] - the.at[i - 1]);
    return the.watts[i - 1] + share * (the.watts[i] - the.watts[i - 1]);
}

static double curve_j(double t) /* from 0 to t within one period */
{
    double joules = 0, from = 0;
    for (int i = 0; i < the.knots && from < t; i++) {
        double to = fmin(fmax(the.at[i], 0), t);
        if (to > from) { /* linear in between, so the middle is the mean */
            joules += curve_w((from + to) / 2) * (to - from);
            from = to;
        }
    }
    return t > from ? joules + the.watts[the.knots - 1] * (t - from) : joules;
}

static double energy_j(double t)
{
    if (t <= 0)
        return 0;
    if (the.repeat_s <= 0)
        return curve_j(t);
    double periods = floor(t / the.repeat_s);
    return periods * curve_j(the.repeat_s) + curve_j(t - periods * the.repeat_s);
}

static double last(double step_s, double t) /* the last multiple; half a nanosecond is rounding */
{
    return step_s > 0 ? floor((t + 5e-10) / step_s) * step_s : t;
}

static uint64_t counter_mj(void)
{
    double t = last(the.tick_s, fmin(now_s(), the.stuck_from_s));
    double since = t >= the.reset_at_s ? energy_j(the.reset_at_s) : 0;
    return (uint64_t)llround((energy_j(t) - since) * the.counter_gain * 1e3);
}

static unsigned mean_mw(double from, double to)
{
    from = fmax(from, 0);
    return to > from ? (unsigned)lround((energy_j(to) - energy_j(from)) / (to - from) * 1e3) : 0;
}

static unsigned instant_mw(void) /* the first `duty` of each sensor period, as SC24 found it */
{
    double end = last(the.sensor_s, now_s());
    double from = end - the.sensor_s;
    return mean_mw(from, from + the.sensor_s * the.sensor_duty);
}

static uint64_t slowdown_ns(double since_s)
{
    return (uint64_t)(fmin(fmax(now_s() - since_s, 0), SLOWDOWN_S) * 1e9);
}

static int slows_now(double since_s)
{
    return now_s() >= since_s && now_s() < since_s + SLOWDOWN_S;
}

/* ---- faults that any call can have ---- */

static int is_unsupported(const char *name)
{
    char word[80];
    snprintf(word, sizeof word, " %s ", name);
    return strstr(the.unsupported, word) != NULL;
}

static Return fault(const char *name)
{
    double t = now_s();
    if (t >= the.error_from_s && t < the.error_until_s)
        return the.error_code;
    return is_unsupported(name) ? NOT_SUPPORTED : SUCCESS;
}
#define ENTER                                                                                     \
    do {                                                                                          \
        Return code = fault(__func__);                                                            \
        if (code)                                                                                 \
            return code;                                                                          \
    } while (0)
#define ANSWER(type, name, value)                                                                 \
    Return name(Device device, type *out)                                                         \
    {                                                                                             \
        (void)device;                                                                             \
        ENTER;                                                                                    \
        *out = value;                                                                             \
        return SUCCESS;                                                                           \
    }

/* ---- the interface: library and devices ---- */

Return nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    load_scenario();
    return SUCCESS;
}

Return nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(Return code) { return code ? "error of the double" : "success"; }

Return nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    snprintf(out, size, "0.0 (double)");
    return SUCCESS;
}

Return nvmlDeviceGetCount_v2(unsigned *out)
{
    *out = (unsigned)the.gpus;
    return SUCCESS;
}

Return nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *out)
{
    if (index >= (unsigned)the.gpus || index >= MAX_GPUS)
        return INVALID;
    *out = &gpu[index];
    return SUCCESS;
}

Return nvmlDeviceGetUUID(Device device, char *out, unsigned size)
{
    snprintf(out, size, "GPU-%08d-double", (int)((int *)device - gpu));
    return SUCCESS;
}

Return nvmlDeviceGetName(Device device, char *out, unsigned size)
{
    (void)device;
    snprintf(out, size, "NVIDIA H100 (double)");
    return SUCCESS;
}

ANSWER(unsigned, nvmlDeviceGetPersistenceMode, 1)
ANSWER(unsigned, nvmlDeviceGetEnforcedPowerLimit, 700000)
ANSWER(unsigned, nvmlDeviceGetMemoryBusWidth, 5120)
ANSWER(uint64_t, nvmlDeviceGetCurrentClocksEventReasons,
       (the.power_cap ? 0x4 : 0) | (slows_now(the.thermal_at_s) ? 0x20 : 0) |
           (slows_now(the.hw_at_s) ? 0x88 : 0))

Return nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending)
{
    (void)device;
    ENTER;
    *current = *pending = (unsigned)the.mig;
    return SUCCESS;
}

Return nvmlDeviceGetEccMode(Device device, unsigned *current, unsigned *pending)
{
    (void)device;
    ENTER;
    *current = *pending = 1;
    return SUCCESS;
}

Return nvmlDeviceGetClockInfo(Device device, unsigned type, unsigned *out)
{
    (void)device;
    ENTER;
    *out = type == 2 ? 2619 : 1980; /* NVML_CLOCK_MEM, else SM; MHz */
    return SUCCESS;
}

typedef struct { unsigned version, sensor; int celsius; } Temperature;

Return nvmlDeviceGetTemperatureV(Device device, Temperature *out)
{
    (void)device;
    ENTER;
    out->celsius = 40 + (int)(instant_mw() / 20000);
    return SUCCESS;
}

typedef struct { unsigned pid; uint64_t memory; unsigned gpu_instance, compute_instance; } Process;

Return nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, Process *out)
{
    (void)device;
    ENTER;
    double t = now_s();
    unsigned found = t >= the.process_from_s && t < the.process_until_s ? 2 : 1;
    unsigned room = *count;
    *count = found;
    if (room < found)
        return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < found; i++)
        out[i] = (Process){.pid = 4242 + i, .memory = 1 << 30};
    return SUCCESS;
}

Return nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned *count, Process *out)
{
    (void)device, (void)out;
    ENTER;
    *count = 0;
    return SUCCESS;
}

ANSWER(unsigned long long, nvmlDeviceGetTotalEnergyConsumption, counter_mj())
ANSWER(unsigned, nvmlDeviceGetPowerUsage, mean_mw(now_s() - 1, now_s()))

/* ---- the interface: fields ---- */

typedef struct {
    unsigned field, scope;
    int64_t timestamp_us, latency_us;
    unsigned type;
    Return code;
    union { unsigned u32; uint64_t u64; } value;
} Field;

static void answer_u32(Field *f, unsigned value) { f->type = U32, f->value.u32 = value; }
static void answer_u64(Field *f, uint64_t value) { f->type = U64, f->value.u64 = value; }

static void answer(Field *f)
{
    char name[32];
    snprintf(name, sizeof name, "%u", f->field);
    f->code = fault(name);
    double host_w = 0;
    if (f->scope == SCOPE_MODULE) {
        f->code = f->field == 83 ? NOT_SUPPORTED : fault("module");
        host_w = HOST_W;
    }
    if (f->code)
        return;
    switch (f->field) {
    case 83: case 191:
        answer_u64(f, counter_mj() + (uint64_t)(host_w * last(the.tick_s, now_s()) * 1e3));
        break;
    case 185: answer_u32(f, mean_mw(now_s() - 1, now_s()) + (unsigned)(host_w * 1e3)); break;
    case 186: answer_u32(f, instant_mw() + (unsigned)(host_w * 1e3)); break;
    case 82: answer_u32(f, 45); break;
    case 74: answer_u64(f, the.power_cap ? (uint64_t)(now_s() * 1e9) : 0); break;
    case 75: case 269: answer_u64(f, slowdown_ns(the.thermal_at_s)); break;
    case 271: answer_u64(f, slowdown_ns(the.hw_at_s)); break;
    case 76: case 77: case 78: case 79: case 80: case 81: case 270: answer_u64(f, 0); break;
    default: f->code = NOT_SUPPORTED;
    }
}

Return nvmlDeviceGetFieldValues(Device device, int count, Field *fields)
{
    (void)device;
    ENTER;
    for (int i = 0; i < count; i++)
        answer(&fields[i]);
    return SUCCESS;
}

/* ---- the interface: GPM ---- */

typedef struct { double at_s; } Sample;
typedef struct {
    unsigned metric;
    Return code;
    double value;
    const char *names[3];
} Metric;
typedef struct { unsigned version, count; Sample *first, *second; Metric metrics[]; } Metrics;
typedef struct { unsigned version, supported; } Support;

Return nvmlGpmQueryDeviceSupport(Device device, Support *out)
{
    (void)device;
    ENTER;
    out->supported = !the.no_gpm;
    return SUCCESS;
}

Return nvmlGpmSampleAlloc(Sample **out)
{
    *out = calloc(1, sizeof **out);
    return SUCCESS;
}

Return nvmlGpmSampleFree(Sample *sample)
{
    free(sample);
    return SUCCESS;
}

Return nvmlGpmSampleGet(Device device, Sample *sample)
{
    (void)device;
    ENTER;
    sample->at_s = now_s();
    return SUCCESS;
}

Return nvmlGpmMetricsGet(Metrics *asked)
{
    ENTER;
    for (unsigned i = 0; i < asked->count; i++) {
        Metric *m = &asked->metrics[i];
        int answers = m->metric == 10 && asked->second->at_s > asked->first->at_s;
        m->code = answers ? SUCCESS : NOT_FOUND;
        m->value = floor(the.dram_utilisation * 100);
    }
    return SUCCESS;
}
