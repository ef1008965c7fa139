#include "settings.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace emulator {

namespace {

// Reads a whole number. Returns false if text is not one.
bool number(const std::string &text, uint64_t *n)
{
	char *end;
	*n = strtoull(text.c_str(), &end, 10);
	return !text.empty() && !*end;
}

bool parse_order(Settings &s, const std::string &value)
{
	const size_t colon = value.find(':');
	const std::string word = value.substr(0, colon);
	s.ordered = true;
	s.order.kind = word == "forward"   ? Order::FORWARD
	               : word == "reverse" ? Order::REVERSE
	               : word == "favour"  ? Order::FAVOUR
	                                   : Order::RANDOM;
	if (!s.copies_given) // without a setting, each order has its own
		s.order.copies = word == "forward" ? Order::EARLY : word == "reverse" ? Order::LATE : Order::EITHER;
	if (!s.early_given)
		s.order.early = word == "forward" ? Order::NONE : word == "reverse" ? Order::MOST : Order::SOME;
	if (word == "favour" || word == "random")
		return colon != std::string::npos && number(value.substr(colon + 1), &s.order.number);
	return value == "forward" || value == "reverse";
}

bool parse_copies(Settings &s, const std::string &value)
{
	s.copies_given = true;
	s.order.copies = value == "early" ? Order::EARLY : value == "late" ? Order::LATE : Order::EITHER;
	return value == "early" || value == "late" || value == "either";
}

bool parse_early(Settings &s, const std::string &value)
{
	s.early_given = true;
	s.order.early = value == "none" ? Order::NONE : value == "some" ? Order::SOME : Order::MOST;
	return value == "none" || value == "some" || value == "most";
}

bool parse(Settings &s, const std::string &key, const std::string &value)
{
	if (key == "jit-error")
		return s.jit_error = value, true;
	if (key == "fault")
		return s.fault = value, true;
	if (key == "log")
		return s.log = value, true;
	if (key == "order")
		return parse_order(s, value);
	if (key == "copies")
		return parse_copies(s, value);
	if (key == "early")
		return parse_early(s, value);
	if (key == "compute")
		return sscanf(value.c_str(), "%d.%d", &s.major, &s.minor) == 2;
	uint64_t n;
	if (!number(value, &n))
		return false;
	if (key == "devices")
		return s.devices = (int)n, true;
	if (key == "sms")
		return s.sms = (int)n, true;
	if (key == "shared")
		return s.shared = n, n <= SHARED_MAX;
	if (key == "memory")
		return s.memory = n, true;
	if (key == "free")
		return s.free = n, true;
	if (key == "jit-ms")
		return s.jit_ms = (int)n, true;
	if (key == "refuse-native")
		return s.refuse_native = n != 0, true;
	if (key == "refuse-overlap")
		return s.refuse_overlap = n != 0, true;
	if (key == "fail-alloc")
		return s.fail_alloc = (long)n, true;
	return false;
}

} // namespace

const Settings &settings()
{
	static std::string text;
	static Settings parsed;
	const char *now = getenv("PHI3_EMULATOR");
	if (text == (now ? now : ""))
		return parsed;
	text = now ? now : "", parsed = {};
	for (size_t at = 0; at < text.size();) {
		const bool last = text.compare(at, 10, "jit-error=") == 0; // a log may contain semicolons
		const size_t end = last ? text.size() : std::min(text.find(';', at), text.size());
		const std::string setting = text.substr(at, end - at);
		const size_t equals = setting.find('=');
		if (!setting.empty() && (equals == std::string::npos ||
		                         !parse(parsed, setting.substr(0, equals), setting.substr(equals + 1))))
			parsed.error = "PHI3_EMULATOR: no such setting: " + setting;
		at = end + 1;
	}
	return parsed;
}

std::string describe(const Order &o)
{
	static const char *const kinds[] = {"forward", "reverse", "favour:", "random:"},
					  *const copies[] = {"early", "late", "either"},
					  *const early[] = {"none", "some", "most"};
	std::string s = std::string("order=") + kinds[o.kind];
	if (o.kind >= Order::FAVOUR)
		s += std::to_string(o.number);
	return s + ";copies=" + copies[o.copies] + ";early=" + early[o.early];
}

// Opens the file each time, so that a test may remove it.
void log(const char *format, ...)
{
	const std::string &file = settings().log;
	FILE *f = file.empty() ? nullptr : fopen(file.c_str(), "a");
	if (!f)
		return;
	va_list ap;
	va_start(ap, format);
	vfprintf(f, format, ap);
	va_end(ap);
	fputc('\n', f);
	fclose(f);
}

} // namespace emulator
