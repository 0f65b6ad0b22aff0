# Completes a page with what a program says of itself: awk -v top=FOLDER -f page.awk DESCRIPTION PAGE.md > COMPLETE.md
#
# DESCRIPTION is what `describe PROGRAM` prints (describe.c), or /dev/null. Lines of PAGE.md that are nothing but
#
#   {{usage}} {{about}} {{options}} {{commands}} {{variables}} {{notes}} {{examples}} {{file NAME}}
#
# become that: NAME is from FOLDER, its headings one level deeper, its title left out.
BEGIN { FS = "\t"; known = "usage about options commands variables notes examples" }

function sentence(text) { return toupper(substr(text, 1, 1)) substr(text, 2) "." }

# What a help says, as Markdown: lines that begin with a blank are literal.
function put_text(line)
{
	if (line ~ /^ /)
		print (literal ? "" : "\n") "    " substr(line, 3)
	else
		print (literal && line != "" ? "\n" : "") line
	literal = line ~ /^ /
}

function put_texts(kind,    i)
{
	literal = 0
	for (i = 1; i <= count[kind]; i++)
		put_text(record[kind, i])
}

function put_options(command,    i, f)
{
	for (i = 1; i <= count["option"]; i++) {
		split(record["option", i], f, "\t")
		if (f[1] != command)
			continue
		print (f[3] != "" ? "**" f[3] "**, " : "") "**" f[2] "**" (f[4] != "" ? " *" f[4] "*" : "")
		print ": " f[6] (f[5] != "" && f[6] !~ /repeat/ ? "; may be repeated" : "") "\n"
		put++
	}
}

function put_command(f,    i, line)
{
	print "### " f[1] (f[2] != "" ? " " f[2] : "") "\n\n" sentence(f[3]) "\n"
	literal = 0
	for (i = 1; i <= count["help"]; i++) {
		split(record["help", i], line, "\t")
		if (line[1] == f[1])
			put_text(line[2])
	}
	print ""
	put_options(f[1])
}

function put_commands(    i, f)
{
	for (i = 1; i <= count["command"]; i++) {
		split(record["command", i], f, "\t")
		put_command(f)
	}
}

function put_variables(    i, f)
{
	for (i = 1; i <= count["variable"]; i++) {
		split(record["variable", i], f, "\t")
		printf "**%s**\n: %s\n\n", f[1], f[2]
	}
}

function put_usage(    i, line)
{
	for (i = 1; i <= count["usage"]; i++) {
		line = record["usage", i]
		sub(/^(Usage:|      ) /, "", line)
		print "    " line
	}
}

function put_file(name,    line, fence)
{
	while ((getline line < (top "/" name)) > 0) {
		fence = line ~ /^```/ ? !fence : fence
		if (fence || line !~ /^# /)
			print (!fence && line ~ /^##/ ? "#" : "") line
		read_lines++
	}
	if (!read_lines)
		fail(name " cannot be read")
}

function fail(why)
{
	print FILENAME ":" FNR ": " why >"/dev/stderr"
	failed = 1
	exit 1
}

FILENAME == ARGV[1] {
	rest = substr($0, length($1) + 2)
	record[$1, ++count[$1]] = rest
	next
}

/^[{][{].*[}][}]$/ {
	what = substr($0, 3, length($0) - 4)
	put = 0
	if (what ~ /^file /)
		put_file(substr(what, 6))
	else if (what == "options")
		put_options("")
	else if (what == "commands")
		put_commands()
	else if (what == "variables")
		put_variables()
	else if (what == "usage")
		put_usage()
	else if (what ~ /^(about|notes|examples)$/)
		put_texts(what)
	else
		fail("`" what "` is none of: " known " file")
	next
}

{ print }

END { exit failed }
