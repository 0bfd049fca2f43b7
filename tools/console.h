// What a command tells a person: report lines, and for long work a bar that is redrawn in place on a terminal. In a
// file, a pipe or CI there is no bar: plain lines only. NO_COLOR and TERM=dumb are honoured. Reports go to standard
// output, so that an error is the only line on standard error. Tested by tests/tools/console_test.cpp.
#pragma once

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace cloze {

/// What the place of output can show.
struct Display {
    bool redraws = false;  // a terminal that obeys cursor movement
    bool colours = false;
    bool unicode = false;
};

/// Of an open stream, from its descriptor and the environment.
Display display_of(std::FILE* stream);
/// Columns of the terminal behind `stream` at this moment; 80 where there is none.
int terminal_columns(std::FILE* stream);

/// One line of a bar of `columns`: the share done, drawn, and then the text, cut to fit.
std::string bar_line(double share, const std::string& text, int columns, bool unicode);

class Console {
public:
    explicit Console(bool quiet, std::FILE* stream = stdout);
    Console(std::FILE* stream, const Display& display, bool quiet);
    /// Takes the bar away.
    ~Console();
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;

    const Display& display() const { return display_; }
    /// A report line; the bar, if any, is drawn again below it.
    void line(const std::string& text);
    void heading(const std::string& text);
    /// Names on the left, values on the right.
    void table(const std::vector<std::pair<std::string, std::string>>& rows);
    /// What is being done now: shown in place on a terminal, a line elsewhere.
    void stage(const std::string& text);
    /// Work under way: on a terminal a bar with `text`, elsewhere `text` as a line.
    void progress(double share, const std::string& text);
    /// The same where only a terminal should see it, because there would be too many lines.
    void bar(double share, const std::string& text);
    void clear_bar();

private:
    void draw(const std::string& line);
    void write(const std::string& text);
    std::string emphasised(const std::string& text) const;

    std::FILE* stream_;
    Display display_;
    bool quiet_;
    std::string bar_;  // as drawn; empty when there is none
};

}  // namespace cloze
