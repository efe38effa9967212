// The clock cycles of a compiled design, a whole batch of words per call.
//
// Compiled together with two files that compiled.py writes: model.cc, the design as Yosys made it (cxxrtl_design::p_top),
// and ports.inc, which names its streams, inputs first, and its clock, if it has one:
//
//     #define STREAMS Stream(top.p_i____valid, top.p_i____ready, top.p_i____payload), …
//     #define CLOCK top.p_clk, top.prev_p_clk
//
// or, where modules stay apart and each knows by itself what the clock was, `top.p_clk` alone.
//
// The rules of a cycle are those of traffic.py, draw for draw: the same words, stalls and seed make the same cycles.

#include <chrono>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "model.cc"
#include "ports.inc"

namespace {

using cxxrtl::chunk_t;  // payloads are little-endian arrays of 32-bit chunks, here and in Python

template <size_t Bits> chunk_t *chunks(cxxrtl::value<Bits> &v) { return v.data; }
template <size_t Bits> chunk_t *chunks(cxxrtl::wire<Bits> &w) { return w.curr.data; }

struct Stream {
  chunk_t *valid, *ready, *payload;
  size_t width, bytes;  // of the payload; width in chunks
  bool free = true;     // inputs: no word is waiting to be accepted

  template <class Valid, class Ready, class Payload>
  Stream(Valid &v, Ready &r, Payload &p)
      : valid(chunks(v)), ready(chunks(r)), payload(chunks(p)),
        width((Payload::bits + 31) / 32), bytes(width * sizeof(chunk_t)) {}
};

// What one stream has to do in this exchange. Python's `Channel` has the same fields.
struct Channel {
  chunk_t *words;
  uint64_t room;  // inputs: words to send; outputs: words there is space for
  uint64_t done;  // how many words have gone through
  uint64_t owed;  // outputs: counted words still to come
  uint32_t shift, kinds;  // a word counts if bit `word >> shift & 7` of `kinds` is set

  bool counts(const chunk_t *word, size_t width) const {
    if (kinds == 0xFF) return true;
    size_t n = shift / 32;
    uint64_t window = word[n] | (n + 1 < width ? uint64_t(word[n + 1]) << 32 : 0);
    return kinds >> (window >> shift % 32 & 7) & 1;
  }
};

struct Exchange {
  Channel *channels;
  uint64_t drain;   // cycles still to run once all is sent and nothing is owed
  uint64_t idle;    // cycles in a row that moved no word
  uint64_t cycles;  // clock cycles of this exchange
};

enum Outcome : int { DONE, PAUSED, STUCK, FAILED };

// A failed `Assert` of the design ends the call instead of the process.
struct Checks : cxxrtl::performer {
  void on_check(cxxrtl::flavor kind, bool holds, const cxxrtl::lazy_fmt &text, const cxxrtl::metadata_map &) override {
    if (!holds && (kind == cxxrtl::flavor::ASSERT || kind == cxxrtl::flavor::ASSUME)) throw std::runtime_error(text());
  }
};

struct Simulation {
  cxxrtl_design::p_top top;
  std::vector<Stream> streams{STREAMS};
  Checks checks;
  size_t inputs;
  uint64_t random, budget;
  uint32_t stall;  // probability, in units of 2^-32
  bool one_pass;
  std::string failure;

  Simulation(size_t inputs, uint32_t stall, uint64_t seed, uint64_t budget)
      : inputs(inputs), random(seed), budget(budget), stall(stall) {
    one_pass = top.eval(&checks);
    top.commit();
    clock(false);
  }

  bool stalls() {
    if (!stall) return false;
    random = random * 6364136223846793005u + 1442695040888963407u;
    return random >> 32 < stall;
  }

#ifdef CLOCK
  void clock(bool level) { set(level, CLOCK); }
  void set(bool level, cxxrtl::value<1> &now, cxxrtl::value<1> &before) {
    now.data[0] = level;
    if (!level) before.data[0] = 0;  // nothing happens at a falling edge: spare the design its evaluation
  }
  void set(bool level, cxxrtl::value<1> &now) {
    now.data[0] = level;
    one_pass = false;  // a falling edge is to be seen too
  }
#else
  void clock(bool) {}
#endif

  // Without combinational feedback one evaluation gives both what the streams show before the rising edge and what the
  // registers take over at it, so `sample` looks between evaluating and committing. With feedback the design has to
  // settle first.
  template <class Sample> void cycle(Sample sample) {
    if (one_pass) {
      clock(true);
      top.cxxrtl_design::p_top::eval(&checks);
      sample();
      top.cxxrtl_design::p_top::commit();
    } else {
      top.step(&checks);
      sample();
      clock(true);
      top.step(&checks);
    }
    clock(false);
  }

  Outcome run(Exchange &x) {
    auto pause = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
    uint64_t work = 0;
    for (size_t n = 0; n < streams.size(); n++)
      work += n < inputs ? x.channels[n].room - x.channels[n].done : x.channels[n].owed;

    for (bool full = false; !full;) {
      if (x.cycles % 1024 == 0 && std::chrono::steady_clock::now() > pause) return PAUSED;
      if (work) {
        if (x.idle == budget) return STUCK;
      } else {
        if (!x.drain) return DONE;
        x.drain--;
      }

      for (size_t n = 0; n < streams.size(); n++) {
        Stream &s = streams[n];
        Channel &c = x.channels[n];
        if (n >= inputs) {
          *s.ready = !stalls();
        } else if (s.free) {
          *s.valid = c.done < c.room && !stalls();
          s.free = !*s.valid;
          if (*s.valid) std::memcpy(s.payload, c.words + c.done * s.width, s.bytes);
        }
      }
      x.idle++;
      x.cycles++;
      cycle([&] {
        for (size_t n = 0; n < streams.size(); n++) {
          Stream &s = streams[n];
          if (!(*s.valid & *s.ready)) continue;
          Channel &c = x.channels[n];
          x.idle = 0;
          if (n < inputs) {
            s.free = true;
            work--;
          } else {
            std::memcpy(c.words + c.done * s.width, s.payload, s.bytes);
            if (c.owed && c.counts(s.payload, s.width)) c.owed--, work--;
            if (c.done + 1 == c.room) full = true;
          }
          c.done++;
        }
      });
    }
    return PAUSED;
  }
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT Simulation *sim_open(size_t inputs, uint32_t stall, uint64_t seed, uint64_t budget) {
  return new Simulation(inputs, stall, seed, budget);
}

EXPORT int sim_run(Simulation *sim, Exchange *exchange) {
  try {
    return sim->run(*exchange);
  } catch (const std::exception &error) {
    sim->failure = error.what();
    return FAILED;
  }
}

EXPORT const char *sim_failure(Simulation *sim) { return sim->failure.c_str(); }

EXPORT void sim_close(Simulation *sim) { delete sim; }
