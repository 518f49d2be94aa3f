from services.personalize.cli import main

main()
